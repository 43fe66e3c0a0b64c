"""WCoRD with KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/wcord/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.15 top-1 (resnet32x4 79.42, student alone 72.50), verified for the pair (leader board); that KD takes part is
from memory. The negatives have weight 1, the safe start, in place of their number, the paper's factor. The weights of
the terms, 0.8 and 0.05, are from memory.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='WCoRD', negative_weight=1.0, global_weight=0.8, local_weight=0.05, weight=1.0),
    dict(type='KD', temperature=4.0, weight=1.0),
])
