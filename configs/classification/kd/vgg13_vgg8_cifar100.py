"""KD on CIFAR-100, vgg13 to vgg8.

    python tools/train.py configs/classification/kd/vgg13_vgg8_cifar100.py

Measured: not run.
Paper: 72.98 top-1 (teacher 74.64, student alone 70.36), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/vgg13_vgg8_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='KD', temperature=4.0, weight=0.9)])
