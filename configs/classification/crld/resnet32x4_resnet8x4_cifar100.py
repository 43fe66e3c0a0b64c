"""CRLD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/crld/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 77.60 top-1 (resnet32x4 79.42, student alone 72.50), unverified (from memory).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
train_dataloader = dict(dataset=dict(views=dict(strong=[dict(type='StrongAugment')])))
model = dict(distillers=[dict(type='CRLD', temperature=4.0, tau_weak=0.9, tau_strong=0.2, weight=1.0)])
