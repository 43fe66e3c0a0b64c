"""KD with logit standardization on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/logit_std/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.62 top-1 (resnet32x4 79.42, student alone 72.50), verified (logit-standardization README).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='LogitStd', base='kd', temperature=2.0, weight=9.0)])
