"""WKD-F on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/wkd/resnet20_resnet8half_digits_f.py

Measured: 99.44 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
Weight 0.02 and a decay after 10 epochs in place of the paper's 0.08 and 150, which are for 240 epochs.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='WKDF', mean_cov_ratio=4.0, hidden_channels=64, decay_start=10, weight=0.02)])
