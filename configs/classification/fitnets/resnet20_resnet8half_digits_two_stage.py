"""FitNets in two stages (the hint alone, then labels and a decaying KD) on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/fitnets/resnet20_resnet8half_digits_two_stage.py

The hint is a mean of weight 100, not the half squared norm of the paper: SGD keeps one learning rate.
Measured: 98.61 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(
    type='FitNets', stage_one_epochs=5, hint_weight=100.0, temperature=3.0, kd_weight_start=4.0, kd_weight_end=1.0)])
