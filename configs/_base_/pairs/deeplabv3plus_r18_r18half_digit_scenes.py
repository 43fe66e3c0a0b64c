"""A DeepLabV3+ on a ResNet-18 of half width teaches one of a quarter of the width; both give logits at stride 4.

The teacher: configs/segmentation/vanilla/deeplabv3plus_r18_digit_scenes.py.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMSegModel', config='mmseg::_base_/models/deeplabv3plus_r50-d8.py',
        checkpoint='work_dirs/segmentation/vanilla/deeplabv3plus_r18_digit_scenes/student.safetensors',
        model=dict(
            backbone=dict(depth=18, stem_channels=32, base_channels=32, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            decode_head=dict(in_channels=256, channels=64, dilations=(1, 2, 4), c1_in_channels=32, c1_channels=16),
            auxiliary_head=dict(in_channels=128, channels=32))),
    student=dict(
        type='MMSegModel', config='mmseg::_base_/models/deeplabv3plus_r50-d8.py',
        model=dict(
            backbone=dict(depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            decode_head=dict(in_channels=128, channels=32, dilations=(1, 2, 4), c1_in_channels=16, c1_channels=8),
            auxiliary_head=dict(in_channels=64, channels=16))))
