"""OFD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/ofd/resnet20_resnet8half_digits.py

Measured: not run to the end.
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='OFD', weight=0.001)])
