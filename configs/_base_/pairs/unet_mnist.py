"""A U-Net of 0.7 M parameters for grey 28x28 images; its student is its copy. Train it with diffusion/vanilla/unet_mnist.py."""
model = dict(
    type='Distillation',
    teacher=dict(type='DiffusionUNet', in_channels=1, channels=32, patch_size=2, num_classes=10,
                 checkpoint='work_dirs/diffusion/vanilla/unet_mnist/student.safetensors'),
    student=dict(type='DiffusionUNet', in_channels=1, channels=32, patch_size=2, num_classes=10))
