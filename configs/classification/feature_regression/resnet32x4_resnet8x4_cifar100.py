"""Feature regression (Theia's loss) on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/feature_regression/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: not on this data set (foundation models on ImageNet).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='FeatureRegression', cosine_weight=0.9, l1_weight=0.1, weight=1.0)])
