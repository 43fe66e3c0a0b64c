"""TopKD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/topkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: its CIFAR-100 numbers are not known to us.
Our reading of the paper, without its code: k is the only setting that is the paper's.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='TopKD', k=5, weight=1.0)])
