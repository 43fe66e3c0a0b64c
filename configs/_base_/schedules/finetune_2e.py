"""Fine-tuning for two epochs: SGD, lr 0.01 for batch 64, cosine to 0."""
train_cfg = dict(type='EpochLoop', max_epochs=2)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=2, convert_to_iter_based=True)]
