"""A masked autoencoder of 8 blocks teaches one of 6. Train the teacher with masked_images/vanilla/mae_small_cifar10_jpeg.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MaskedAutoencoder', img_size=32, patch_size=4, embed_dim=192, depth=8, num_heads=3, decoder_depth=0,
        checkpoint=dict(path='work_dirs/masked_images/vanilla/mae_small_cifar10_jpeg/student.safetensors',
                        rename='mae_encoder')),
    student=dict(
        type='MaskedAutoencoder', img_size=32, patch_size=4, embed_dim=96, depth=6, num_heads=3,
        decoder_embed_dim=96, decoder_depth=2, decoder_num_heads=3))
