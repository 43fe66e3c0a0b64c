"""TRG beside KD on CIFAR-100, ResNet-32x4 to ResNet-8x4.

    python tools/train.py configs/classification/trg/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs). Paper: its numbers and hyper-parameters are not known to us; all numbers here are ours.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[
    dict(type='KD', temperature=4.0, weight=0.9),
    dict(type='TRG', student_layer='stages.-2', teacher_layer='stages.-2', local_weight=100.0, weight=1.0),
])
