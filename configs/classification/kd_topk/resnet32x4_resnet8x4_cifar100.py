"""KD-topk on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/kd_topk/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: no number for this pair that we have verified.
The cross-entropy is inside the loss.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='KDTopK', target='topk', k=25, temperature=4.0, alpha=0.9, weight=1.0)])
