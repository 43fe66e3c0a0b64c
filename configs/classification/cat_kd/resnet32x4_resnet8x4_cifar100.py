"""CAT-KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/cat_kd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.91 top-1 (resnet32x4 79.42, student alone 72.50), unverified (third-party page; pair from memory).
The outer weight is the paper's beta.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='CATKD', resolution=2, normalize=False, weight=15.0)])
