"""OFA-KD's ImageNet recipe for CNNs: SGD, lr 0.1 for 8 processes of batch 64, 100 epochs, a tenth at 30, 60 and 90."""
train_cfg = dict(type='EpochLoop', max_epochs=100)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1),
]
