"""A ResNet-20 teaches a ResNet-8 of half its width. Train the teacher with classification/vanilla/resnet20_digits.py."""
model = dict(
    type='Distillation',
    teacher=dict(type='resnet20', checkpoint='work_dirs/classification/vanilla/resnet20_digits/student.safetensors'),
    student=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))
