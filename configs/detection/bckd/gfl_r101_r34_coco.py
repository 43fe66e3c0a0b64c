"""BCKD, GFL on ResNet-101 to ResNet-34 on COCO.

    python tools/train.py configs/detection/bckd/gfl_r101_r34_coco.py

Measured: not run (12 epochs).
Paper: 42.0 mAP (student alone 38.9), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_1x.py',
    '../../_base_/pairs/gfl_r101_r34_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='BCKD', cls_weight=1.0, beta=1.0, loc_weight=4.0)])
