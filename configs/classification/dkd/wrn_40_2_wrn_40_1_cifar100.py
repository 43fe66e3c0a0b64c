"""DKD on CIFAR-100, wrn_40_2 to wrn_40_1.

    python tools/train.py configs/classification/dkd/wrn_40_2_wrn_40_1_cifar100.py

Measured: not run.
Paper: 74.81 top-1 (teacher 75.61, student alone 71.98), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=6.0, temperature=4.0, warmup_epochs=20)])
