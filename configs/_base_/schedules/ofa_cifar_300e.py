"""OFA-KD's CIFAR-100 recipe for CNNs: SGD, lr 0.05 for 8 processes of batch 128, 300 epochs, cosine to 1e-3."""
train_cfg = dict(type='EpochLoop', max_epochs=300)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=3, end=300, T_max=297, eta_min=1e-3, convert_to_iter_based=True),
]
