"""TTM on CIFAR-100, vgg13 to vgg8.

    python tools/train.py configs/classification/ttm/vgg13_vgg8_cifar100.py

Measured: not run (240 epochs).
Paper: 74.33 top-1 (vgg13 74.64, student alone 70.36), verified (TTM README).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/vgg13_vgg8_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='TTM', gamma=0.1, weight=45.0)])
