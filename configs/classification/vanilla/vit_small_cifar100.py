"""ViT-S with ImageNet weights, fine-tuned on CIFAR-100 at 224x224: a teacher for OFA-KD.

    python tools/train.py configs/classification/vanilla/vit_small_cifar100.py

Measured: not run. The recipe is ours; the paper's is not known to us.
"""
_base_ = [
    '../../_base_/datasets/cifar100_224.py', '../../_base_/schedules/finetune_2e.py',
    '../../_base_/runtime.py',
]
train_cfg = dict(max_epochs=10)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max=10, convert_to_iter_based=True)]
model = dict(
    type='Distillation',
    student=dict(type='TimmModel', model_name='vit_small_patch16_224.augreg_in21k_ft_in1k', pretrained=True))
