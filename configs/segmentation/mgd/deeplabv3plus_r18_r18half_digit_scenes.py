"""MGD on the last map of the backbone on scenes of real handwritten digits.

    python tools/train.py configs/segmentation/mgd/deeplabv3plus_r18_r18half_digit_scenes.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(
    type='MGD', alpha=2e-5, mask_ratio=0.75, student_tap='backbone.-1', teacher_tap='backbone.-1', weight=1.0)])
