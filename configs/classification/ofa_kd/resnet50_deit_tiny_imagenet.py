"""OFA-KD on ImageNet, ResNet50 to DeiT-T.

    python tools/train.py configs/classification/ofa_kd/resnet50_deit_tiny_imagenet.py

Measured: not run (300 epochs).
Paper: 76.55 top-1 (teacher 80.38, student alone 72.17), unverified.
eps is the method's default; the paper chooses it for each pair, between 1 and 1.5, and ours is not known.
"""
_base_ = [
    '../../_base_/datasets/imagenet_strong.py', '../../_base_/schedules/vit_300e.py',
    '../../_base_/runtime.py',
]
custom_hooks = [dict(type='EMAHook', decay=0.99996)]
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='resnet50.a1_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='deit_tiny_patch16_224'),
    distillers=[dict(type='OFAKD', eps=1.0)])
