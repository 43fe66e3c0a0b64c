"""DKD on CIFAR-100, resnet56 to resnet20.

    python tools/train.py configs/classification/dkd/resnet56_resnet20_cifar100.py

Measured: not run.
Paper: 71.97 top-1 (teacher 72.34, student alone 69.06), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet56_resnet20_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=2.0, temperature=4.0, warmup_epochs=20)])
