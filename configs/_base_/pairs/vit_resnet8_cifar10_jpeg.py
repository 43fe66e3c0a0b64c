"""A ViT of 6 blocks teaches a ResNet-8. Train the teacher with classification/vanilla/vit_cifar10_jpeg.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=32, patch_size=4, depth=6, embed_dim=96, num_heads=3,
        checkpoint='work_dirs/classification/vanilla/vit_cifar10_jpeg/student.safetensors'),
    student=dict(type='resnet8'))
