"""The base of sweeps on scenes of real handwritten digits: a GFL on a ResNet-18 of half width teaches one of a quarter.

    python tools/sweep.py configs/detection/sweep/gfl_r18_r18half_digit_scenes.py --methods none bckd ld pkd crosskd --seeds 0 1

The teacher: python tools/train.py configs/detection/vanilla/gfl_r18_digit_scenes.py
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[])
