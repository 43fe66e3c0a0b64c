"""Fine-tuning a masked autoencoder's encoder on the digits: as vit_digits.py, with rates falling by 0.75 a layer."""
train_cfg = dict(type='EpochLoop', max_epochs=15)
optim_wrapper = dict(
    type='OptimWrapper', constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75),
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=15, T_max=13, convert_to_iter_based=True),
]
