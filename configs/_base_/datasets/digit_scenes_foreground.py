"""Scenes of real handwritten digits with binary masks, any digit against the background; nothing to download."""
_base_ = 'digit_scenes_seg.py'
num_classes = 2
train_dataloader = dict(dataset=dict(form='foreground'))
val_dataloader = dict(dataset=dict(form='foreground'))
test_dataloader = dict(dataset=dict(form='foreground'))
task = dict(num_classes=num_classes)
