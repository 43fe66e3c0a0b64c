"""The base of sweeps on BCCD's blood cells: a GFL on a ResNet-18 of half width teaches one of a quarter, 12 epochs.

    python tools/sweep.py configs/detection/sweep/gfl_r18_r18half_bccd.py --methods none bckd ld pkd crosskd --seeds 0 1

The teacher: python tools/train.py configs/detection/vanilla/gfl_r18_bccd.py
"""
_base_ = [
    '../../_base_/datasets/bccd.py', '../../_base_/schedules/bccd_12e.py',
    '../../_base_/pairs/gfl_r18_r18half_bccd.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[])
