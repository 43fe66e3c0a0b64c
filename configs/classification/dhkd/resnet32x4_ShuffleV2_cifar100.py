"""DHKD on CIFAR-100, resnet32x4 to ShuffleV2.

    python tools/train.py configs/classification/dhkd/resnet32x4_ShuffleV2_cifar100.py

Measured: not run (240 epochs).
Paper: no number for this pair that we have verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_ShuffleV2_cifar100.py', '../../_base_/runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
model = dict(distillers=[dict(type='DHKD', temperature=2.0, head='nonlinear', align=True, weight=1.0)])
