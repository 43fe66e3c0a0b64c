"""CIFAR-10 at 32x32 for CNNs on a small budget: SGD with Nesterov momentum, batch 64, 10 epochs, cosine to 0."""
train_cfg = dict(type='EpochLoop', max_epochs=10)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=10, T_max=10, convert_to_iter_based=True)]
