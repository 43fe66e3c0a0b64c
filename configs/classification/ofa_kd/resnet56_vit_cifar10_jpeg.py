"""OFA-KD on CIFAR-10-JPEG, a CNN to a ViT.

    python tools/train.py configs/classification/ofa_kd/resnet56_vit_cifar10_jpeg.py

Measured: in a sweep of 4 epochs on 10,000 images 38.35 top-1 (student alone 37.44, one seed; zoo/tables/measured).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/vit_cifar10.py',
    '../../_base_/pairs/resnet56_vit_cifar10_jpeg.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFAKD', eps=1.0)])
