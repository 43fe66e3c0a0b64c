"""MGD (classification form) on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/mgd_cls/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: ImageNet only.
The ImageNet weight as it is: this map (256 x 8 x 8) is not much smaller than ResNet-34's (512 x 7 x 7).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='MGDCls', mask_ratio=0.15, weight=7e-5)])
