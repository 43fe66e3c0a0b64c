"""e2KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/e2kd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: not on this data set.
T and the weight of the explanation are from the paper's search; no cross-entropy, as in its runs.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='E2KD', temperature=1.0, explanation_weight=1.0, weight=1.0)])
