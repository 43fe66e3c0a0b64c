"""OFA-KD on ImageNet, DeiT-T to ResNet18.

    python tools/train.py configs/classification/ofa_kd/deit_tiny_resnet18_imagenet.py

Measured: not run (100 epochs).
Paper: 71.34 top-1 (teacher 72.17, student alone 69.75), unverified.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/ofa_imagenet_100e.py',
    '../../_base_/runtime.py',
]
task = dict(label_smoothing=0.1)
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='deit_tiny_patch16_224.fb_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='resnet18'),
    distillers=[dict(type='OFAKD', eps=1.5)])
