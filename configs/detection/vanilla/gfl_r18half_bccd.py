"""GFL on a ResNet-18 of a quarter of the width, alone, on blood cells (BCCD), from random weights: the student of the pairs.

    python tools/train.py configs/detection/vanilla/gfl_r18half_bccd.py

Measured: mAP 0.499 +- 0.010 on the validation images, 0.482 +- 0.009 on the test images (3 seeds, last epoch).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/bccd.py', '../../_base_/schedules/bccd_12e.py',
    '../../_base_/runtime_detection.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=16, base_channels=16),
            neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=3),
            bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2,
                           anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32])))))
