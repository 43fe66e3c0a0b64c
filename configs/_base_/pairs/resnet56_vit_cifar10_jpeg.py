"""A ResNet-56 teaches a ViT of 6 blocks. Train the teacher with
classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune.py."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='resnet56', shortcut='A',
        checkpoint='work_dirs/classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune/student.safetensors'),
    student=dict(
        type='TimmModel', model_name='vit_tiny_patch16_224', img_size=32, patch_size=4, depth=6, embed_dim=96, num_heads=3))
