"""Total variation on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/tvd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: reports language tasks only; weight and cross-entropy are ours.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='TVD', weight=1.0)])
