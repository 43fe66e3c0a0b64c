"""PKD between two GFL detectors, on BCCD's blood cells at 320x240.

    python tools/train.py configs/detection/pkd/gfl_r18_r18half_bccd.py

The teacher first: configs/detection/vanilla/gfl_r18_bccd.py.
Measured: mAP 0.516 +- 0.006 on the validation images (student alone 0.499 +- 0.010, teacher 0.559; 3 seeds, last
epoch; docs/dense.md).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/bccd.py', '../../_base_/schedules/bccd_12e.py',
    '../../_base_/pairs/gfl_r18_r18half_bccd.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='PKD', weight=6.0)])
