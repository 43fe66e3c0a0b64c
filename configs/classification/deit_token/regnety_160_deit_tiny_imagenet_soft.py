"""DeiT's distillation token (soft) on ImageNet, RegNetY-160 to DeiT-Ti.

    python tools/train.py configs/classification/deit_token/regnety_160_deit_tiny_imagenet_soft.py

Measured: not run (300 epochs, 8 processes of batch 128). Repeated augmentation and RandAugment are left out.
Paper: our table has no number for the soft form.
"""
_base_ = [
    '../../_base_/datasets/imagenet_strong.py', '../../_base_/schedules/vit_300e.py',
    '../../_base_/runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=5, end=300, T_max=295, eta_min=1e-5, convert_to_iter_based=True),
]
task = dict(loss_weight=0.0)  # the class token's cross-entropy is a term of the method
model = dict(
    type='Distillation', teacher=dict(type='TimmModel', model_name='regnety_160.deit_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='deit_tiny_distilled_patch16_224', drop_path_rate=0.1),
    distillers=[dict(type='DeiTToken', mode='soft', alpha=0.1, temperature=3.0)])
