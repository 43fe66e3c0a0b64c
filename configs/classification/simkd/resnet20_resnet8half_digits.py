"""SimKD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/simkd/resnet20_resnet8half_digits.py

Measured: 98.61 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
The loss of the maps is the only one: no labels are used. Weight 10 in place of 1, for 15 epochs in place of 240.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
model = dict(distillers=[dict(type='SimKD', factor=2, weight=10.0)])
