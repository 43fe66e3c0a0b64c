"""KD on CIFAR-100, wrn_40_2 to wrn_40_1.

    python tools/train.py configs/classification/kd/wrn_40_2_wrn_40_1_cifar100.py

Measured: not run.
Paper: 73.54 top-1 (teacher 75.61, student alone 71.98), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='KD', temperature=4.0, weight=0.9)])
