"""KD-SVD on CIFAR-100.

    python tools/train.py configs/classification/kdsvd/resnet32x4_resnet8x4_cifar100.py

Width mode and weight 1 as in megvii-research/mdistiller.
Measured: not run (240 epochs).
Paper: no number of it was read in a document.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='KDSVD', k=1, mode='width', weight=1.0)])
