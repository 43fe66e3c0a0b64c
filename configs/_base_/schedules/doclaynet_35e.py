"""DocLayNet: AdamW, cosine after a warm-up, 35 epochs or 303,000 steps of 8 images (4 processes of 2)."""
train_cfg = dict(type='EpochLoop', max_epochs=35, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=35, T_max=35, convert_to_iter_based=True),
]
