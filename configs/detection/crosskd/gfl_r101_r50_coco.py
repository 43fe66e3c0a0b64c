"""CrossKD, GFL on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/crosskd/gfl_r101_r50_coco.py

Measured: not run (12 epochs).
Paper: 43.7 mAP (GFL-R101 44.9, student alone 40.2), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_1x.py',
    '../../_base_/pairs/gfl_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='CrossKD', cut=3, cls_weight=1.0, reg_weight=4.0)])
