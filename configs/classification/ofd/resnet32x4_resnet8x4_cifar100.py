"""OFD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/ofd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: not on this pair; later papers quote 74.95 top-1 (resnet32x4 79.42, student alone 72.50), unverified.
The paper's weight with mdistiller's schedule (lr 0.05, 240 epochs); the paper's own pairs are WRN-28 and PyramidNet.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFD', weight=0.001)])
