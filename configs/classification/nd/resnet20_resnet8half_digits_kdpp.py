"""KD++ (KD and the ND term) on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/nd/resnet20_resnet8half_digits_kdpp.py

Measured: 99.44 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
KD's warm-up takes 5 epochs in place of the paper's 20, which are for 240 epochs.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='KD', temperature=4.0, weight=dict(value=1.0, warmup_epochs=5)),
    dict(type='ND', weight=1.0),
])
