"""A ViT of 4 blocks teaches a ResNet-8 of half its width. Train the teacher with classification/vanilla/vit_digits.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, embed_dim=48, num_heads=3,
        checkpoint='work_dirs/classification/vanilla/vit_digits/student.safetensors'),
    student=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))
