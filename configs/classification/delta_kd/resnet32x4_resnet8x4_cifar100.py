"""Delta-KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/delta_kd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: reports language tasks only; weight and cross-entropy are ours.
Both bases are untrained as it stands: give the networks before tuning as student_base.checkpoint and
teacher_base.checkpoint.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(
    type='DeltaKD', temperature=4.0, weight=1.0,
    student_base=dict(type='resnet8x4', checkpoint=None),
    teacher_base=dict(type='resnet32x4', checkpoint=None))])
