"""ND beside LD at the positives of the head between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/nd/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: not run. Paper: reports nothing on detection.
The weights of LD's box sides are for 16 images a process, as in configs/detection/ld/gfl_r18_r18half_digit_scenes.py.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[
    dict(type='LD', ld_weight=0.03, vlr_weight=0.03, kd_weight=10.0),
    dict(type='ND', at_positives=True, student_tap='bbox_head.gfl_cls:input', teacher_tap='bbox_head.gfl_cls:input')])
