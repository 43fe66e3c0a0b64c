"""LD between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/ld/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: not run. Paper: reports nothing on this data set.
The terms of the box sides are sums over a process's images, 2 in the paper and 16 here: weights of 0.03 in place of 0.25.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='LD', ld_weight=0.03, vlr_weight=0.03, kd_weight=10.0)])
