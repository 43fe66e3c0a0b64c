"""Proteus on ImageNet's images without labels, DINOv2 ViT-L/14 to ViT-B/14 at 224x224 (16x16 patches).

    python tools/train.py configs/classification/proteus/dinov2_large_vit_base_imagenet.py

No label is used, so that the classifier stays as it began and the run's top-1 says nothing: train a linear classifier on the
released student. The teacher's positions come down from 37x37 by timm's bicubic resizing (DINOv2's own differs slightly).
Measured: not run (300 epochs). Paper: 84.9 top-1 of a linear classifier, verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/proteus_imagenet_300e.py', '../../_base_/runtime.py',
]
train_dataloader = dict(batch_size=128)
task = dict(loss_weight=0.0)
find_unused_parameters = True  # of several processes: no loss reaches the classifier
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='vit_large_patch14_dinov2.lvd142m', img_size=224, num_classes=0,
                 pretrained=True, input=None),
    student=dict(type='TimmModel', model_name='vit_base_patch14_dinov2', img_size=224, init_values=1.0, drop_path_rate=0.1),
    distillers=[dict(type='Proteus', mask_probability=0.5, mask_ratio=0.5, weight=1.0)])
