"""wrn_40_2 teaches wrn_16_2 on CIFAR-100.

Train the teacher with classification/vanilla/wrn_40_2_cifar100.py, or give the file of mdistiller's release:
``--cfg-options model.teacher.checkpoint.path=PATH model.teacher.checkpoint.key=model``.
"""
model = dict(
    type='Distillation',
    teacher=dict(type='wrn_40_2', checkpoint='work_dirs/classification/vanilla/wrn_40_2_cifar100/student.safetensors'),
    student=dict(type='wrn_16_2'))
