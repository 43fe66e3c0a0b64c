"""The base of sweeps from a CNN to a ViT on CIFAR-10-JPEG: ResNet-56 teaches 6 transformer blocks, 10,000 images, 4 epochs.

    python tools/sweep.py configs/classification/sweep/resnet56_vit_cifar10_jpeg.py --methods none kd fitnets ofa_kd --seeds 0

The teacher: python tools/train.py configs/classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune.py
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/vit_cifar10.py',
    '../../_base_/pairs/resnet56_vit_cifar10_jpeg.py', '../../_base_/runtime.py',
]
train_dataloader = dict(dataset=dict(subset=10000))
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=4, T_max=3, convert_to_iter_based=True),
]
