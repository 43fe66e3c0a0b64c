"""LD with its valuable region, class distillation and feature imitation, GFL on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/ld/gfl_r101_r50_coco.py

Measured: not run (12 epochs).
Paper: 42.1 mAP (student alone 40.1), verified; LD alone 41.1, verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_1x.py',
    '../../_base_/pairs/gfl_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[
    dict(type='LD', ld_weight=0.25, vlr_weight=0.25, kd_weight=10.0, ld_temperature=10.0, kd_temperature=2.0, im_weight=2.0)])
