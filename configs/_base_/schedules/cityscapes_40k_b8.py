"""Cityscapes, 2,975 images in batches of 8: SGD, polynomial decay of power 0.9, 108 epochs or 40,068 iterations."""
train_cfg = dict(type='EpochLoop', max_epochs=108, val_interval=10)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=True, begin=0, end=108, convert_to_iter_based=True)]
