"""DKD at the positives of the head between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/dkd/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: not run. Paper: reports nothing on this data set, and nothing on one-stage detectors.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=2.0, temperature=4.0, warmup_epochs=2, at_positives=True)])
