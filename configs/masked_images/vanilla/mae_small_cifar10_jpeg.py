"""A masked autoencoder of 8 blocks alone on CIFAR-10-JPEG: the teacher of dmae.

    python tools/train.py configs/masked_images/vanilla/mae_small_cifar10_jpeg.py

Measured: not run.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg_masked.py', '../../_base_/schedules/mae_cifar10.py',
    '../../_base_/runtime_masked_images.py',
]
model = dict(type='Distillation', student=dict(
    type='MaskedAutoencoder', img_size=32, patch_size=4, embed_dim=192, depth=8, num_heads=3,
    decoder_embed_dim=96, decoder_depth=2, decoder_num_heads=3))
