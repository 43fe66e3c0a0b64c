"""The CIFAR-100 recipe of CRD and mdistiller: SGD, lr 0.05 for batch 64, 240 epochs, a tenth at 150, 180 and 210."""
train_cfg = dict(type='EpochLoop', max_epochs=240)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[150, 180, 210], gamma=0.1)]
