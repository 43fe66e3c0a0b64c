"""Diffusion students on the digits: Adam, lr 5e-4 falling to 0 linearly, batch 64, 30 epochs, gradients clipped to 1."""
train_cfg = dict(type='EpochLoop', max_epochs=30, val_interval=30)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0, end_factor=0.02, by_epoch=True, begin=0, end=30,
         convert_to_iter_based=True)]
