"""A U-Net of 0.2 M parameters for the digits; its student is its copy. Train it with diffusion/vanilla/unet_digits.py."""
model = dict(
    type='Distillation',
    teacher=dict(type='DiffusionUNet', in_channels=1, channels=16, patch_size=2, num_classes=10,
                 checkpoint='work_dirs/diffusion/vanilla/unet_digits/student.safetensors'),
    student=dict(type='DiffusionUNet', in_channels=1, channels=16, patch_size=2, num_classes=10))
