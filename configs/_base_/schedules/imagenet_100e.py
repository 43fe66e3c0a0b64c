"""The ImageNet recipe of mdistiller: SGD, lr 0.2 for batch 512, 100 epochs, a tenth at 30, 60 and 90."""
train_cfg = dict(type='EpochLoop', max_epochs=100)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)]
