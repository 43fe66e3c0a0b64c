"""DeiT's distillation token (soft) on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/deit_token/resnet20_deit_digits_soft.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/vit_digits.py',
    '../../_base_/pairs/resnet20_deit_digits.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)  # the class token's cross-entropy is a term of the method
model = dict(distillers=[dict(type='DeiTToken', mode='soft', alpha=0.1, temperature=3.0)])
