"""V_kD on ImageNet, RegNetY-160 to DeiT-Ti.

    python tools/train.py configs/classification/vkd/regnety_160_deit_tiny_imagenet.py

Measured: not run (300 epochs, batch 512). The paper's student has a convolutional stem and no parameter for its
distillation token; this one is timm's plain DeiT-Ti. RandAugment is left out.
Paper: 78.3 top-1, as in the authors' README, verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet_strong.py', '../../_base_/schedules/vit_300e.py',
    '../../_base_/runtime.py',
]
train_dataloader = dict(batch_size=512)
optim_wrapper = dict(clip_grad=None)
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=300, T_max=300, eta_min=5e-6, convert_to_iter_based=True),
]
task = dict(loss_weight=0.0)  # the class token's cross-entropy is a term of the method
model = dict(
    type='Distillation', teacher=dict(type='TimmModel', model_name='regnety_160.deit_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='deit_tiny_distilled_patch16_224'),
    distillers=[dict(type='VKD', label_head='head', teacher_head='head_dist')])
