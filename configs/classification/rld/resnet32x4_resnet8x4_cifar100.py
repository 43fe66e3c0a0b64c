"""RLD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/rld/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 76.64 top-1 (resnet32x4 79.42, student alone 72.50), unverified (from memory).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='RLD', alpha=1.0, beta=8.0, temperature=4.0, warmup_epochs=20, weight=1.0)])
