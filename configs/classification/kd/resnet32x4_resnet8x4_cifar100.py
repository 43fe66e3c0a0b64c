"""KD on CIFAR-100, ResNet-32x4 to ResNet-8x4.

    python tools/train.py configs/classification/kd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 73.33 top-1 (teacher 79.42, student alone 72.50), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='KD', temperature=4.0, weight=0.9)])
