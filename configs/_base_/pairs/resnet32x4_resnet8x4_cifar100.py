"""resnet32x4 teaches resnet8x4 on CIFAR-100.

Train the teacher with classification/vanilla/resnet32x4_cifar100.py, or give the file of mdistiller's release:
``--cfg-options model.teacher.checkpoint.path=PATH model.teacher.checkpoint.key=model``.
"""
model = dict(
    type='Distillation',
    teacher=dict(type='resnet32x4', checkpoint='work_dirs/classification/vanilla/resnet32x4_cifar100/student.safetensors'),
    student=dict(type='resnet8x4'))
