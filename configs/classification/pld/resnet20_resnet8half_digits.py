"""PLD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/pld/resnet20_resnet8half_digits.py

Measured: 97.50 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
There is no other cross-entropy; SGD as for all methods here in place of the paper's AdamW.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='PLD', temperature=4.0, weight=1.0)])
