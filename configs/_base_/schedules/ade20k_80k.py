"""ADE20K, 20,210 images in batches of 16: AdamW of SegFormer, 64 epochs or 80,832 iterations, polynomial decay."""
train_cfg = dict(type='EpochLoop', max_epochs=64, val_interval=8)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0), 'head': dict(lr_mult=10.0)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=True, begin=1, end=64, convert_to_iter_based=True),
]
