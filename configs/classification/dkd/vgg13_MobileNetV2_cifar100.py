"""DKD on CIFAR-100, vgg13 to MobileNetV2.

    python tools/train.py configs/classification/dkd/vgg13_MobileNetV2_cifar100.py

Measured: not run.
Paper: 69.71 top-1 (teacher 74.64, student alone 64.60), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/vgg13_MobileNetV2_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=6.0, temperature=4.0, warmup_epochs=20)])
optim_wrapper = dict(optimizer=dict(lr=0.01))
