"""Proteus on ImageNet's images without labels, CLIP ViT-L/14 to ViT-B/14: class token only.

    python tools/train.py configs/classification/proteus/clip_large_vit_base_imagenet.py

No label is used, so that the run's top-1 says nothing: train a linear classifier on the released student.
Measured: not run (300 epochs). Paper: 81.2 top-1 of a linear classifier, verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/proteus_imagenet_300e.py', '../../_base_/runtime.py',
]
train_dataloader = dict(batch_size=128)
task = dict(loss_weight=0.0)
find_unused_parameters = True  # of several processes: no loss reaches the classifier
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='vit_large_patch14_clip_224.openai', num_classes=0, pretrained=True),
    student=dict(type='TimmModel', model_name='vit_base_patch14_dinov2', img_size=224, init_values=1.0, drop_path_rate=0.1),
    distillers=[dict(type='Proteus', lambda_fea=0.0, lambda_patch=0.0, weight=1.0)])
