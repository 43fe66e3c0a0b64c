"""MAE's ViT-L/16 teaches ViT-B/16 under a mask. The teacher is mae_visualize_vit_large.pth of facebookresearch/mae, which was
trained with raw pixels (CC-BY-NC 4.0; put it under checkpoints/); mae_pretrain_vit_large.pth fits as well."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MaskedAutoencoder', embed_dim=1024, depth=24, num_heads=16, decoder_depth=0,
        checkpoint=dict(path='checkpoints/mae_visualize_vit_large.pth', rename='mae_encoder')),
    student=dict(type='MaskedAutoencoder'))
