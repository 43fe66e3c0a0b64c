"""WCoRD with KD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/wcord/resnet20_resnet8half_digits.py

Measured: 98.33 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
256 negatives in place of 16,384: the set has 1,437 images.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='WCoRD', num_negatives=256, negative_weight=1.0, weight=1.0),
    dict(type='KD', temperature=4.0, weight=1.0),
])
