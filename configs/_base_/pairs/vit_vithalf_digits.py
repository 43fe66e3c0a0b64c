"""A ViT of 4 blocks teaches one of half its depth and width. Train the teacher with classification/vanilla/vit_digits.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, embed_dim=48, num_heads=3,
        checkpoint='work_dirs/classification/vanilla/vit_digits/student.safetensors'),
    student=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=2, embed_dim=24, num_heads=3))
