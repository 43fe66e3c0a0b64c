"""SemCKD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/semckd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.23 top-1 (resnet32x4 79.42, student alone 73.09), verified (SimKD README).
With KD, as in the paper. The last, incomplete batch has no SemCKD term.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='SemCKD', batch_size=64, weight=400.0),
    dict(type='KD', temperature=4.0, weight=1.0),
])
