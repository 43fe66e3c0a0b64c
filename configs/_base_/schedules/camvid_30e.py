"""CamVid on a CPU: AdamW, 30 epochs of 91 batches of 4, cosine after a warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=30, val_interval=10)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01),
                     clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=30, T_max=29, convert_to_iter_based=True),
]
