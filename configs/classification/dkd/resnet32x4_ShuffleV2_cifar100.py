"""DKD on CIFAR-100, resnet32x4 to ShuffleV2.

    python tools/train.py configs/classification/dkd/resnet32x4_ShuffleV2_cifar100.py

Measured: not run.
Paper: 77.07 top-1 (teacher 79.42, student alone 71.82), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_ShuffleV2_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=8.0, temperature=4.0, warmup_epochs=20)])
optim_wrapper = dict(optimizer=dict(lr=0.01))
