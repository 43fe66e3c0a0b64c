"""PKD, RetinaNet on ResNeXt-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/pkd/retinanet_x101_r50_coco.py

Measured: not run (24 epochs).
Paper: 40.8 mAP (RetinaNet-X101 41.0, student alone 37.4), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_2x.py',
    '../../_base_/pairs/retinanet_x101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='PKD', weight=6.0)])
