"""The base of sweeps from a ViT to a CNN on CIFAR-10-JPEG: 6 transformer blocks teach ResNet-8, 10,000 images, 4 epochs.

    python tools/sweep.py configs/classification/sweep/vit_resnet8_cifar10_jpeg.py --methods none kd fitnets ofa_kd --seeds 0

The teacher: python tools/train.py configs/classification/vanilla/vit_cifar10_jpeg.py
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/cifar10_10e.py',
    '../../_base_/pairs/vit_resnet8_cifar10_jpeg.py', '../../_base_/runtime.py',
]
train_dataloader = dict(dataset=dict(subset=10000))
train_cfg = dict(max_epochs=4)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=4, T_max=4, convert_to_iter_based=True)]
