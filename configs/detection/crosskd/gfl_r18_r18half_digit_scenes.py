"""CrossKD between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/crosskd/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: mAP 0.498 on the scenes left out (student alone 0.435, teacher 0.445; seed 0, last epoch).
Paper: reports nothing on this data set.
cut=1 of the 2 convolutions of a tower, in place of 3 of 4.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='CrossKD', cut=1)])
