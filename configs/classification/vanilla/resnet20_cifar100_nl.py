"""resnet20 alone on CIFAR-100-NL (noisy train labels), labels only.

    python tools/train.py configs/classification/vanilla/resnet20_cifar100_nl.py

Measured: not run.
"""
_base_ = ['../../_base_/datasets/cifar100_nl.py', '../../_base_/schedules/cifar_240e.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet20'))
