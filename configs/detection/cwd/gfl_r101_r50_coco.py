"""CWD on the class maps of the head, GFL on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/cwd/gfl_r101_r50_coco.py

Measured: not run (12 epochs).
Paper: 41.9 mAP (GFL-R101 44.7, student alone 40.2), verified (mmrazor's run).
The weight is mmrazor's for pyramids; the one for class maps was not read.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_1x.py',
    '../../_base_/pairs/gfl_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[
    dict(type='CWD', temperature=1.0, student_tap='head.cls_scores', teacher_tap='head.cls_scores', weight=10.0)])
