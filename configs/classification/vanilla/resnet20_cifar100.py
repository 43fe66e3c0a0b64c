"""resnet20 alone on CIFAR-100, labels only.

    python tools/train.py configs/classification/vanilla/resnet20_cifar100.py

Measured: not run (240 epochs).
"""
_base_ = ['../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet20'))
