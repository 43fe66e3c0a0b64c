"""COCO for 24 epochs, as mmdet's 2x: SGD, lr 0.01 for 16 images a step, steps after epochs 16 and 22.

With another number of images a step (8 GPUs x 2 here), scale ``optim_wrapper.optimizer.lr`` with it.
"""
train_cfg = dict(type='EpochLoop', max_epochs=24)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[16, 22], gamma=0.1),
]
