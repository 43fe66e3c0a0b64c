"""FitNets on CIFAR-100.

    python tools/train.py configs/classification/fitnets/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 73.50 top-1 (resnet32x4 79.42, student alone 72.50; HobbitLong/RepDistiller README), verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='FitNets', student_layer='stages.1', teacher_layer='stages.1', weight=100.0)])
