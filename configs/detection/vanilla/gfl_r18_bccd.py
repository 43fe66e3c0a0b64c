"""GFL on a ResNet-18 of half width, alone, on blood cells (BCCD), from random weights: the teacher of the pairs.

    python tools/train.py configs/detection/vanilla/gfl_r18_bccd.py

Measured: mAP 0.559 on the validation images, 0.542 on the test images (seed 0, last epoch).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/bccd.py', '../../_base_/schedules/bccd_24e.py',
    '../../_base_/runtime_detection.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=32, base_channels=32),
            neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, num_outs=3),
            bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2,
                           anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32])))))
