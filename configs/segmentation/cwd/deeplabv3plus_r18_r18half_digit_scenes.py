"""CWD on the logits on scenes of real handwritten digits.

    python tools/train.py configs/segmentation/cwd/deeplabv3plus_r18_r18half_digit_scenes.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='CWD', temperature=4.0, weight=3.0)])
