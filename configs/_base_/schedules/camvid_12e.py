"""CamVid on a CPU: AdamW, 12 epochs of 45 batches, cosine after a warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=12, val_interval=4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
                     clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=12, T_max=11, convert_to_iter_based=True),
]
