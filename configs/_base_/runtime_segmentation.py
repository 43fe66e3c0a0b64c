"""The runtime of segmentation runs: mIoU decides which epoch is the best, and is shown for each class at the end."""
_base_ = 'runtime.py'
default_hooks = dict(logger=dict(type='RecordHook', monitor='mIoU'))
custom_hooks = [dict(type='ClassTableHook')]
