"""RKD on CIFAR-100.

    python tools/train.py configs/classification/rkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 71.90 top-1 (resnet32x4 79.42, student alone 72.50; HobbitLong/RepDistiller README), verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='RKD', distance_weight=25.0, angle_weight=50.0, weight=1.0)])
