"""Mask R-CNN on a ResNet-101, alone, on document layouts: the teacher of DistilDoc.

    python tools/train.py configs/detection/vanilla/mask_rcnn_r101_doclaynet.py

Measured: not run (35 epochs). Paper: 73.56 mAP, verified.
"""
_base_ = [
    '../../_base_/datasets/doclaynet.py', '../../_base_/schedules/doclaynet_35e.py', '../../_base_/runtime_detection.py',
]
model = dict(
    type='Distillation',
    student=dict(type='MMDetModel', config='mmdet::mask_rcnn/mask-rcnn_r101_fpn_2x_coco.py', pretrained=True))
