"""Swing distillation on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/swing/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: reports language tasks only; all values are ours.
The teacher's confidence in the label stands for a privacy score.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='Swing', privacy='membership', t_min=1.0, t_max=8.0, noise_scale=0.05, weight=1.0)])
