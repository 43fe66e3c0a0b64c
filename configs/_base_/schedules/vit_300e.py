"""OFA-KD's recipe for ViTs and MLPs: AdamW, lr 5e-4 for 8 processes of batch 128, 300 epochs, cosine to 1e-6.

Mixup, CutMix and smoothed labels are the data's (a base whose name ends in _strong).
"""
train_cfg = dict(type='EpochLoop', max_epochs=300)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05), clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0, custom_keys={
        'cls_token': dict(decay_mult=0.0), 'dist_token': dict(decay_mult=0.0), 'pos_embed': dict(decay_mult=0.0)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=300, T_max=280, eta_min=1e-6, convert_to_iter_based=True),
]
