"""DKD on CIFAR-100, vgg13 to vgg8.

    python tools/train.py configs/classification/dkd/vgg13_vgg8_cifar100.py

Measured: not run.
Paper: 74.68 top-1 (teacher 74.64, student alone 70.36), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/vgg13_vgg8_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=6.0, temperature=4.0, warmup_epochs=20)])
