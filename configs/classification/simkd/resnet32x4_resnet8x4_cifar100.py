"""SimKD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/simkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 78.08 top-1 (resnet32x4 79.42, student alone 73.09), verified (SimKD README).
The loss of the maps is the only one: no labels are used. The released student holds projector and teacher classifier.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='SimKD', factor=2, weight=1.0)])
