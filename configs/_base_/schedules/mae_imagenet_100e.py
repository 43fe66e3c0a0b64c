"""DMAE's pre-training on ImageNet: AdamW, 1.5e-4 for each 256 images, 100 epochs, cosine after 20 of warm-up.

The batch is 4,096: 8 processes of 128, four batches a step.
"""
train_cfg = dict(type='EpochLoop', max_epochs=100, val_interval=5)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.5e-4 * 4096 / 256, betas=(0.9, 0.95), weight_decay=0.05),
    accumulative_counts=4, paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.0001, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=100, T_max=80, convert_to_iter_based=True),
]
