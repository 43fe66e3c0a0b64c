"""DKD with the temperature of CTKD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/ctkd/resnet32x4_resnet8x4_cifar100_dkd.py

Measured: not run (240 epochs).
Paper: reports nothing for this pair with DKD.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='CTKD', base='dkd', alpha=1.0, beta=2.0, num_loops=10, weight=1.0)])
