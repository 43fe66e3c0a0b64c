"""CIRKD without its memory on scenes of real handwritten digits.

    python tools/train.py configs/segmentation/cirkd/deeplabv3plus_r18_r18half_digit_scenes_minibatch.py

The mini-batch maps are pooled by 4, for the CPU.

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='CIRKD', pool=4, pixel_weight=0.0, region_weight=0.0, weight=1.0)])
