"""OFA-KD on CIFAR-10-JPEG, a ViT to a CNN.

    python tools/train.py configs/classification/ofa_kd/vit_resnet8_cifar10_jpeg.py

Measured: in a sweep of 4 epochs on 10,000 images 53.55 top-1 (student alone 51.55, two seeds; zoo/tables/measured).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/cifar10_10e.py',
    '../../_base_/pairs/vit_resnet8_cifar10_jpeg.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFAKD', eps=1.0)])
