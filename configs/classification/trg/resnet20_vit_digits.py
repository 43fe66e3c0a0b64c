"""TRG beside KD on scikit-learn's handwritten digits, a CNN to a ViT.

    python tools/train.py configs/classification/trg/resnet20_vit_digits.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/vit_digits.py',
    '../../_base_/pairs/resnet20_vit_digits.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[
    dict(type='KD', temperature=4.0, weight=0.9),
    dict(type='TRG', teacher_layer='stages.-2', local_weight=100.0, global_weight=0.1, weight=1.0),
])
