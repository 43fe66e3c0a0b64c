"""SemCKD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/semckd/resnet20_resnet8half_digits.py

Measured: 99.72 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
Weight 10 in place of the paper's 400, which is for the small distances of its large maps. The last, incomplete
batch has no SemCKD term.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='SemCKD', batch_size=64, weight=10.0),
    dict(type='KD', temperature=4.0, weight=1.0),
])
