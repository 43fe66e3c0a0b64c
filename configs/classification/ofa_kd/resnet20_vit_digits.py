"""OFA-KD on scikit-learn's handwritten digits, a CNN to a ViT.

    python tools/train.py configs/classification/ofa_kd/resnet20_vit_digits.py

Measured: 96.11 top-1 at the last epoch, one seed (the ViT alone, with the same recipe: 96.11).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/vit_digits.py',
    '../../_base_/pairs/resnet20_vit_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFAKD', eps=1.0)])
