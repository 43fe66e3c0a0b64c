"""A ResNet-20 teaches a ViT of 4 blocks. The teacher comes with the zoo."""
model = dict(
    type='Distillation',
    teacher=dict(type='resnet20', checkpoint='zoo://resnet20_digits'),
    student=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, embed_dim=48, num_heads=3))
