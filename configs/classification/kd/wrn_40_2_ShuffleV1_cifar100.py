"""KD on CIFAR-100, wrn_40_2 to ShuffleV1.

    python tools/train.py configs/classification/kd/wrn_40_2_ShuffleV1_cifar100.py

Measured: not run.
Paper: 74.83 top-1 (teacher 75.61, student alone 70.50), as in the mdistiller README / RepDistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/wrn_40_2_ShuffleV1_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[dict(type='KD', temperature=4.0, weight=0.9)])
optim_wrapper = dict(optimizer=dict(lr=0.01))
