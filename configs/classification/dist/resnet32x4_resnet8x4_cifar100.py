"""DIST on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/dist/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.31 top-1 (resnet32x4 79.42, student alone 72.50), verified (DIST README).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DIST', beta=1.0, gamma=1.0, temperature=4.0, weight=2.0)])
