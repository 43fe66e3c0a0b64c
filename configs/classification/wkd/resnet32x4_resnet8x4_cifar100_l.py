"""WKD-L on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/wkd/resnet32x4_resnet8x4_cifar100_l.py

Measured: not run (240 epochs).
Paper: 76.53 top-1 (resnet32x4 79.42, student alone 72.50), verified (WKD README).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='WKDL', temperature=8.0, gamma=600.0, sharpen=1.0, decay_start=150, weight=1.0)])
