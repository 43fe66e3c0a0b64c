"""DeepLabV3+ on a ResNet-18 of half width, alone, on CamVid, crops of 240x180: the teacher of the pairs.

    python tools/train.py configs/segmentation/vanilla/deeplabv3plus_r18_camvid.py

Measured: mIoU 48.29 on the validation, 43.48 on the test images; seed 0, last epoch;
docs/dense.md. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/runtime_segmentation.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='MMSegModel', config='mmseg::_base_/models/deeplabv3plus_r50-d8.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=32, base_channels=32, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            decode_head=dict(in_channels=256, channels=64, dilations=(1, 3, 6, 9), c1_in_channels=32, c1_channels=16),
            auxiliary_head=dict(in_channels=128, channels=32))))
