"""DeepLabV3+ on a ResNet-18 of a quarter of the width, alone, on scenes of real handwritten digits: the student of the pairs.

    python tools/train.py configs/segmentation/vanilla/deeplabv3plus_r18half_digit_scenes.py

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_seg.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/runtime_segmentation.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='MMSegModel', config='mmseg::_base_/models/deeplabv3plus_r50-d8.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            decode_head=dict(in_channels=128, channels=32, dilations=(1, 2, 4), c1_in_channels=16, c1_channels=8),
            auxiliary_head=dict(in_channels=64, channels=16))))
