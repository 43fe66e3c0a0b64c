"""A ResNet-20 teaches a ResNet-8 of half its width. The teacher comes with the zoo."""
model = dict(
    type='Distillation',
    teacher=dict(type='resnet20', checkpoint='zoo://resnet20_digits'),
    student=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))
