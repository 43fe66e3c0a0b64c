"""Handwritten digits for transformers: AdamW, batch 64, 40 epochs, cosine after two epochs of warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=40)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05), clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=40, T_max=38, convert_to_iter_based=True),
]
