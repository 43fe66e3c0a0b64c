"""CTKD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/ctkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 73.39 top-1 (resnet32x4 79.42, student alone 72.50), as in the logit-standardization README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='CTKD', t_start=1.0, t_range=20.0, num_loops=10, weight=0.9)])
