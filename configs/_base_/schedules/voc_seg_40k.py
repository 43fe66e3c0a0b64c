"""VOC 2012 with SBD, 10,582 images in batches of 16: SGD, polynomial decay of power 0.9, 61 epochs or 40,321 iterations."""
train_cfg = dict(type='EpochLoop', max_epochs=61, val_interval=6)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=True, begin=0, end=61, convert_to_iter_based=True)]
