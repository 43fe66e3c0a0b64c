"""DistilDoc, Mask R-CNN on ResNet-101 to ResNet-50 on document layouts.

    python tools/train.py configs/detection/distildoc/mask_rcnn_r101_r50_doclaynet.py

Measured: not run (35 epochs).
Paper: 62.71 mAP (Mask R-CNN-R101 73.56), verified; the student alone reaches 72.43: a warning, not a recipe.
"""
_base_ = [
    '../../_base_/datasets/doclaynet.py', '../../_base_/schedules/doclaynet_35e.py',
    '../../_base_/pairs/mask_rcnn_r101_r50_doclaynet.py', '../../_base_/runtime_detection.py',
]
model = dict(distillers=[dict(type='DistilDoc', distill_only=True, begin=1000, end=85000)])
