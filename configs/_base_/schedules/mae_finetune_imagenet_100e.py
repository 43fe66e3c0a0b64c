"""MAE's fine-tuning on ImageNet: AdamW, 5e-4 for each 256 images, rates falling by 0.75 a layer, 100 epochs.

The batch is 1,024: 8 processes of 128. Cosine to 1e-6 after 20 epochs of warm-up.
"""
train_cfg = dict(type='EpochLoop', max_epochs=100)
optim_wrapper = dict(
    type='OptimWrapper', constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75),
    optimizer=dict(type='AdamW', lr=5e-4 * 1024 / 256, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.0001, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=100, T_max=80, eta_min_ratio=0.0005,
         convert_to_iter_based=True),
]
