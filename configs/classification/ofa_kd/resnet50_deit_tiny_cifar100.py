"""OFA-KD on CIFAR-100 (224x224), ResNet50 to DeiT-T.

    python tools/train.py configs/classification/ofa_kd/resnet50_deit_tiny_cifar100.py

Measured: not run (300 epochs).
Paper: our table has no number for this pair.
eps is the method's default; the paper chooses it for each pair, between 1 and 1.5, and ours is not known.
"""
_base_ = [
    '../../_base_/datasets/cifar100_224_strong.py', '../../_base_/schedules/vit_300e.py',
    '../../_base_/runtime.py',
]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=300, T_max=280, eta_min=1e-5, convert_to_iter_based=True),
]
model = dict(
    type='Distillation',
    teacher=dict(
        type='TimmModel', model_name='resnet50',
        checkpoint='work_dirs/classification/vanilla/resnet50_cifar100/student.safetensors'),
    student=dict(type='TimmModel', model_name='deit_tiny_patch16_224'),
    distillers=[dict(type='OFAKD', eps=1.0)])
