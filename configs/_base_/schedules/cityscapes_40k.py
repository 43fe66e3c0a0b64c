"""Cityscapes, 2,975 images in batches of 16: SGD, polynomial decay of power 0.9, 216 epochs or 39,960 iterations."""
train_cfg = dict(type='EpochLoop', max_epochs=216, val_interval=21)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=True, begin=0, end=216, convert_to_iter_based=True)]
