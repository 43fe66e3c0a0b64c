"""Proteus on ImageNet: AdamW, lr 5e-4 for batch 512 (4 processes of 128), 300 epochs, cosine to 1e-5 after 5 of warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=300)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.002, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=5, end=300, T_max=295, eta_min=1e-5, convert_to_iter_based=True),
]
