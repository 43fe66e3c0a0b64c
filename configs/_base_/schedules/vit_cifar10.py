"""CIFAR-10 at 32x32 for small transformers on a small budget: AdamW, batch 64, 10 epochs, cosine after one of warm-up."""
train_cfg = dict(type='EpochLoop', max_epochs=10)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0, custom_keys={
        'cls_token': dict(decay_mult=0.0), 'dist_token': dict(decay_mult=0.0), 'pos_embed': dict(decay_mult=0.0)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=10, T_max=9, convert_to_iter_based=True),
]
