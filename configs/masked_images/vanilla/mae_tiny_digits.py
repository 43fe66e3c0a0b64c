"""A masked autoencoder of 4 blocks alone on scikit-learn's handwritten digits: dmae's student without a teacher.

    python tools/train.py configs/masked_images/vanilla/mae_tiny_digits.py

Measured: not run.
"""
_base_ = [
    '../../_base_/datasets/digits_masked.py', '../../_base_/schedules/mae_digits.py', '../../_base_/runtime_masked_images.py',
]
model = dict(type='Distillation', student=dict(
    type='MaskedAutoencoder', img_size=16, patch_size=4, embed_dim=48, depth=4, num_heads=3,
    decoder_embed_dim=48, decoder_depth=2, decoder_num_heads=3))
