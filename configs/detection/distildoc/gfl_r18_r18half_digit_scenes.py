"""DistilDoc between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/distildoc/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: not run. Paper: reports nothing on this data set.
With the detector's own losses, which the paper leaves out, to its loss. The widths of the backbones differ, so that the
lateral convolutions of the neck are the student's own.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(student=dict(inherit=('neck.fpn_convs', 'bbox_head')), distillers=[dict(type='DistilDoc', distill_only=False)])
