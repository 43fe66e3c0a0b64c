"""ResNet50 teaches MobileNetV2 on CIFAR-100.

Train the teacher with classification/vanilla/ResNet50_cifar100.py, or give the file of mdistiller's release:
``--cfg-options model.teacher.checkpoint.path=PATH model.teacher.checkpoint.key=model``.
"""
model = dict(
    type='Distillation',
    teacher=dict(type='ResNet50', checkpoint='work_dirs/classification/vanilla/ResNet50_cifar100/student.safetensors'),
    student=dict(type='MobileNetV2'))
