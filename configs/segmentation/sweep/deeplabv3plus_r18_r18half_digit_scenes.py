"""The base of sweeps on scenes of real handwritten digits: a DeepLabV3+ on a ResNet-18 of half width teaches one of a quarter.

    python tools/sweep.py configs/segmentation/sweep/deeplabv3plus_r18_r18half_digit_scenes.py --methods none cwd kd dist

The teacher: python tools/train.py configs/segmentation/vanilla/deeplabv3plus_r18_digit_scenes.py
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[])
