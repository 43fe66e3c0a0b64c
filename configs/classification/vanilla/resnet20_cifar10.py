"""resnet20 alone on CIFAR-10, labels only.

    python tools/train.py configs/classification/vanilla/resnet20_cifar10.py

Measured: not run.
"""
_base_ = ['../../_base_/datasets/cifar10.py', '../../_base_/schedules/cifar_240e.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet20'))
