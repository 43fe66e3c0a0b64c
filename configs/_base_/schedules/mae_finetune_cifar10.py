"""Fine-tuning a masked autoencoder's encoder on CIFAR-10: as vit_cifar10.py, with rates falling by 0.75 a layer."""
train_cfg = dict(type='EpochLoop', max_epochs=10)
optim_wrapper = dict(
    type='OptimWrapper', constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75),
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=10, T_max=9, convert_to_iter_based=True),
]
