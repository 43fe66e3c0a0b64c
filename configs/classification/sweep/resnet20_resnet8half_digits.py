"""The base of sweeps on scikit-learn's handwritten digits: a ResNet-20 teaches a ResNet-8 of half its width, 15 epochs.

    python tools/sweep.py configs/classification/sweep/resnet20_resnet8half_digits.py --methods none kd dkd --seeds 0 1 2

The teacher comes with the zoo.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[])
