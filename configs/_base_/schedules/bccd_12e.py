"""Blood cells from random weights, a short budget: AdamW, batch 8, 12 epochs, cosine after a warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=12, val_interval=4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
                     clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=12, T_max=10, convert_to_iter_based=True),
]
