"""CrossKD, RetinaNet on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/crosskd/retinanet_r101_r50_coco.py

Measured: not run (24 epochs).
Paper: 39.7 mAP (RetinaNet-R101 38.9, student alone 37.4), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_2x.py',
    '../../_base_/pairs/retinanet_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='CrossKD', cut=3, cls_weight=1.0, reg_weight=1.0)])
