"""ACAM-KD on the logits, a mask for each class, on scenes of real handwritten digits.

    python tools/train.py configs/segmentation/acam_kd/deeplabv3plus_r18_r18half_digit_scenes.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(
    type='ACAM', num_masks=None, student_tap='logits', teacher_tap='logits', weight=1.0)])
