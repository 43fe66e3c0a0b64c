"""Delta-KD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/delta_kd/resnet20_resnet8half_digits.py

Measured: 99.44 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
Both bases are untrained here: there are no networks pretrained on other data with these classes.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(
    type='DeltaKD', temperature=4.0, weight=1.0,
    student_base=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)),
    teacher_base=dict(type='resnet20'))])
