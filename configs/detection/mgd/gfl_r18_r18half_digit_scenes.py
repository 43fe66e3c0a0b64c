"""MGD between two GFL detectors, on scenes of real handwritten digits.

    python tools/train.py configs/detection/mgd/gfl_r18_r18half_digit_scenes.py

The teacher first: configs/detection/vanilla/gfl_r18_digit_scenes.py.
Measured: not run. Paper: reports nothing on this data set.
alpha=5e-4 in place of 2e-5: the loss is a sum, and these maps are some hundred times smaller than the paper's.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_det.py', '../../_base_/schedules/digit_scenes_det.py',
    '../../_base_/pairs/gfl_r18_r18half_digit_scenes.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='MGD', alpha=5e-4)])
