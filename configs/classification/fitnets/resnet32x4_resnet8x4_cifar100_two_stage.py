"""FitNets in two stages (the hint alone, then labels and a decaying KD) on CIFAR-100.

    python tools/train.py configs/classification/fitnets/resnet32x4_resnet8x4_cifar100_two_stage.py

Measured: not run (240 epochs).
Paper: nothing on this pair. Its tau 3 and lambda from 4 to 1 are unverified; 60 epochs of hints are our choice.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(
    type='FitNets', stage_one_epochs=60, hint_weight=100.0, temperature=3.0, kd_weight_start=4.0, kd_weight_end=1.0)])
