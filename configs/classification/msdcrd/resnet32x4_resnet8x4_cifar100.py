"""MSDCRD with KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/msdcrd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: none read.
Our reading of the abstract: weights and scales are ours.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='MSDCRD', weight=1.0),
    dict(type='KD', temperature=4.0, weight=1.0),
])
