"""DeepLabV3+ on a MobileNetV2 of a quarter of the width, alone, on CamVid, crops of 240x180: the student of the pairs.

    python tools/train.py configs/segmentation/vanilla/deeplabv3plus_mbv2quarter_camvid.py

Measured: mIoU 38.54 and 40.86 on the validation, 34.96 and 36.39 on the test images;
seeds 0 and 1, last epoch; docs/dense.md. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/runtime_segmentation.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='MMSegModel', config='mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py',
        model=dict(
            backbone=dict(widen_factor=0.25, strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2)),
            decode_head=dict(in_channels=80, channels=32, dilations=(1, 3, 6, 9), c1_in_channels=8, c1_channels=8),
            auxiliary_head=dict(in_channels=24, channels=16))))
