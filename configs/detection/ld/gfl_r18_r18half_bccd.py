"""LD between two GFL detectors, on BCCD's blood cells at 320x240.

    python tools/train.py configs/detection/ld/gfl_r18_r18half_bccd.py

The teacher first: configs/detection/vanilla/gfl_r18_bccd.py.
Measured: mAP 0.496 +- 0.004 on the validation images (student alone 0.499 +- 0.010, teacher 0.559; 3 seeds, last
epoch; docs/dense.md).
Paper: reports nothing on this data set.
The terms of the box sides are sums over a process's images, 2 in the paper and 8 here: weights of 0.06 in place of 0.25.
That of the classes is a mean over them, 80 in the paper and 3 here: 0.375 in place of 10 weighs the divergence alike.
"""
_base_ = [
    '../../_base_/datasets/bccd.py', '../../_base_/schedules/bccd_12e.py',
    '../../_base_/pairs/gfl_r18_r18half_bccd.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='LD', ld_weight=0.06, vlr_weight=0.06, kd_weight=0.375)])
