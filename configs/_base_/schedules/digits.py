"""Handwritten digits: SGD with Nesterov momentum, batch 64, 15 epochs, cosine after one epoch of warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=15)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=15, T_max=14, convert_to_iter_based=True),
]
