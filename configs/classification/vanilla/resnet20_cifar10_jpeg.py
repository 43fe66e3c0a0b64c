"""resnet20 alone on CIFAR-10-JPEG, read from a zip of class folders, labels only.

    python tools/train.py configs/classification/vanilla/resnet20_cifar10_jpeg.py

Measured: not run.
"""
_base_ = ['../../_base_/datasets/cifar10_jpeg_zip.py', '../../_base_/schedules/cifar_240e.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet20'))
