"""Masked autoencoders on the digits: AdamW, lr 2e-3 for batch 64, 80 epochs, cosine after eight of warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=80, val_interval=10)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=8, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=8, end=80, T_max=72, convert_to_iter_based=True),
]
