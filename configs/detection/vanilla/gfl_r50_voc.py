"""GFL on a ResNet-50 from ImageNet, alone, on Pascal VOC 2007+2012.

    python tools/train.py configs/detection/vanilla/gfl_r50_voc.py

Measured: not run (12 epochs). Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/voc_det.py', '../../_base_/schedules/coco_1x.py', '../../_base_/runtime_detection.py',
]
model = dict(
    type='Distillation',
    student=dict(type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py', pretrained=True))
