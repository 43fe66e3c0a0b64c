"""A masked autoencoder of 8 blocks teaches one of 4. Train the teacher with masked_images/vanilla/mae_small_digits.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MaskedAutoencoder', img_size=16, patch_size=4, embed_dim=96, depth=8, num_heads=3, decoder_depth=0,
        checkpoint=dict(path='work_dirs/masked_images/vanilla/mae_small_digits/student.safetensors', rename='mae_encoder')),
    student=dict(
        type='MaskedAutoencoder', img_size=16, patch_size=4, embed_dim=48, depth=4, num_heads=3,
        decoder_embed_dim=48, decoder_depth=2, decoder_num_heads=3))
