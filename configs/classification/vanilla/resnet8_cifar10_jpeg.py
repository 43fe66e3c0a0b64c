"""A ResNet-8 alone on CIFAR-10-JPEG, labels only.

    python tools/train.py configs/classification/vanilla/resnet8_cifar10_jpeg.py

Measured: not run.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/cifar10_10e.py',
    '../../_base_/runtime.py',
]
model = dict(type='Distillation', student=dict(type='resnet8'))
