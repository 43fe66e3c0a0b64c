"""Proteus on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/proteus/vit_vithalf_digits.py

The method uses no labels; here the cross-entropy stays beside it, so that the run's top-1 says something.
Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/vit_digits.py',
    '../../_base_/pairs/vit_vithalf_digits.py', '../../_base_/runtime.py',
]
model = dict(student=dict(init_values=1.0), distillers=[dict(type='Proteus', weight=1.0)])
