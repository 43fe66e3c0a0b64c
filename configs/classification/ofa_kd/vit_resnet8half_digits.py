"""OFA-KD on scikit-learn's handwritten digits, a ViT to a CNN.

    python tools/train.py configs/classification/ofa_kd/vit_resnet8half_digits.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/vit_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFAKD', eps=1.0)])
