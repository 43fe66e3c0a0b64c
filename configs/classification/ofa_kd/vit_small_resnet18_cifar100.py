"""OFA-KD on CIFAR-100 (224x224), ViT-S to ResNet18.

    python tools/train.py configs/classification/ofa_kd/vit_small_resnet18_cifar100.py

Measured: not run (300 epochs).
Paper: our table has no number for this pair.
eps is the method's default; the paper chooses it for each pair, between 1 and 1.5, and ours is not known.
"""
_base_ = [
    '../../_base_/datasets/cifar100_224.py', '../../_base_/schedules/ofa_cifar_300e.py',
    '../../_base_/runtime.py',
]
task = dict(label_smoothing=0.1)
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='vit_small_patch16_224',
        checkpoint='work_dirs/classification/vanilla/vit_small_cifar100/student.safetensors'),
    student=dict(type='TimmModel', model_name='resnet18'),
    distillers=[dict(type='OFAKD', eps=1.0)])
