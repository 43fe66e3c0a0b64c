"""Multi-level KD with logit standardization on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/logit_std/resnet32x4_resnet8x4_cifar100_mlkd.py

Measured: not run (480 epochs).
Paper: 78.28 top-1 (resnet32x4 79.42, student alone 72.50), verified (logit-standardization README).
The epochs of the learning rate's steps are those of 240 epochs: what the authors used at 480 is not known to us.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
train_dataloader = dict(dataset=dict(views=dict(strong=[dict(type='StrongAugment')])))
train_cfg = dict(max_epochs=480)
optim_wrapper = dict(optimizer=dict(lr=0.025))
task = dict(loss_weight=0.1)
model = dict(distillers=[
    dict(type='MLKD', temperature=2.0, standardize=True, kd_weight=9.0, strong_ce_weight=0.1, weight=1.0),
])
