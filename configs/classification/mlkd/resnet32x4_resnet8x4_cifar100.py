"""Multi-level logit distillation on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/mlkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 77.08 top-1 (resnet32x4 79.42, student alone 72.50), verified (logit-standardization README, row MLKD).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
train_dataloader = dict(dataset=dict(views=dict(strong=[dict(type='StrongAugment')])))
optim_wrapper = dict(optimizer=dict(lr=0.025))
task = dict(loss_weight=0.1)
model = dict(distillers=[
    dict(type='MLKD', temperature=4.0, kd_weight=0.9, strong_ce_weight=0.1, weight=1.0),
])
