"""ACAM-KD, RetinaNet on ResNet-101 to ResNet-50 on COCO, with the teacher's neck and head to start from.

    python tools/train.py configs/detection/acam_kd/retinanet_r101_r50_coco.py

Measured: not run (24 epochs).
Paper: 41.2 mAP (student alone 37.4), verified in a note that reprints the tables.
The authors published no code: this is our reading of the paper.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_2x.py',
    '../../_base_/pairs/retinanet_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(student=dict(inherit=('neck', 'bbox_head')), distillers=[dict(type='ACAM', alpha=1.0, lambda_=1.0, num_masks=6)])
