"""KD on CIFAR-100, resnet32x4 to ShuffleV2.

    python tools/train.py configs/classification/kd/resnet32x4_ShuffleV2_cifar100.py

Measured: not run.
Paper: 74.45 top-1 (teacher 79.42, student alone 71.82), as in the mdistiller README / RepDistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_ShuffleV2_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='KD', temperature=4.0, weight=0.9)])
optim_wrapper = dict(optimizer=dict(lr=0.01))
