"""PLD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/pld/resnet32x4_resnet8x4_cifar100.py

Measured: not run (250 epochs).
Paper: 73.97 top-1 (student alone 71.56), table 1, verified.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
train_dataloader = dict(batch_size=128)
train_cfg = dict(max_epochs=250)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.5))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=250)]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='PLD', temperature=4.0, weight=1.0)])
