"""OFA-KD on CIFAR-100 (224x224), Swin-T to ResNet18.

    python tools/train.py configs/classification/ofa_kd/swin_tiny_resnet18_cifar100.py

Measured: not run (300 epochs).
Paper: our table has no number for this pair.
"""
_base_ = [
    '../../_base_/datasets/cifar100_224.py', '../../_base_/schedules/ofa_cifar_300e.py',
    '../../_base_/runtime.py',
]
task = dict(label_smoothing=0.1)
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='swin_tiny_patch4_window7_224',
        checkpoint='work_dirs/classification/vanilla/swin_tiny_cifar100/student.safetensors'),
    student=dict(type='TimmModel', model_name='resnet18'),
    distillers=[dict(type='OFAKD', eps=1.0)])
