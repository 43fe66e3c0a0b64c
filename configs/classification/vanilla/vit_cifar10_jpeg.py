"""A ViT of 6 blocks alone on CIFAR-10-JPEG, labels only.

    python tools/train.py configs/classification/vanilla/vit_cifar10_jpeg.py

Measured: 55.14 top-1 with train_cfg.max_epochs=3 param_scheduler.1.end=3 param_scheduler.1.T_max=2 (seed 0, last epoch).
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/vit_cifar10.py',
    '../../_base_/runtime.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=32, patch_size=4, depth=6, embed_dim=96, num_heads=3))
