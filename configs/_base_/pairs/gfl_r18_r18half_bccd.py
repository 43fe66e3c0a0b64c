"""A GFL on a ResNet-18 of half width teaches one of a quarter of the width; same neck width, strides and head.

The teacher: configs/detection/vanilla/gfl_r18_bccd.py.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        checkpoint='work_dirs/detection/vanilla/gfl_r18_bccd/student.safetensors',
        model=dict(
            backbone=dict(depth=18, stem_channels=32, base_channels=32),
            neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, num_outs=3),
            bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2,
                           anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32])))),
    student=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=16, base_channels=16),
            neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=3),
            bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2,
                           anchor_generator=dict(octave_base_scale=4, strides=[8, 16, 32])))))
