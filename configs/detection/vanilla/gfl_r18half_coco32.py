"""GFL on a narrow ResNet-18 on the 32 images of coco32 with the 80 classes of COCO: shows that all is in place, no more.

    python tools/train.py configs/detection/vanilla/gfl_r18half_coco32.py

Measured: runs (2 epochs on the CPU, mAP 0); 16 images teach nothing. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/coco32.py', '../../_base_/schedules/bccd_24e.py',
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
