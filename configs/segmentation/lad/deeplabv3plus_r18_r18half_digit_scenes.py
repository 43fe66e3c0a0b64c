"""LAD, stage 2: a student without labels under the label-assisted teacher, on scenes of real handwritten digits.

    python tools/train.py configs/segmentation/lad/deeplabv3plus_r18_r18half_digit_scenes.py

Stage 1 is deeplabv3plus_r18_digit_scenes_teacher.py in this folder.

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/lad_deeplabv3plus_r18_r18half_digit_scenes.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='LAD', temperature=4.0, kd_weight=3.0, weight=1.0)])
