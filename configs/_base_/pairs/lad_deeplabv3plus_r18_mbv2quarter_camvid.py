"""A label-assisted DeepLabV3+ on a ResNet-18 of half width teaches an ordinary one on a MobileNetV2 of a quarter of the width.

The teacher: configs/segmentation/lad/deeplabv3plus_r18_camvid_teacher.py. Its label map is a ramp now, as released.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='LabelAssistedSegmentor', config='mmseg::_base_/models/deeplabv3plus_r50-d8.py', noise='ramp', pixel_sigma=0.02,
        checkpoint='work_dirs/segmentation/lad/deeplabv3plus_r18_camvid_teacher/student.safetensors',
        model=dict(
            backbone=dict(depth=18, stem_channels=32, base_channels=32, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            decode_head=dict(in_channels=256, channels=64, dilations=(1, 3, 6, 9), c1_in_channels=32, c1_channels=16),
            auxiliary_head=dict(in_channels=128, channels=32))),
    student=dict(
        type='MMSegModel', config='mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py',
        model=dict(
            backbone=dict(widen_factor=0.25, strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2)),
            decode_head=dict(in_channels=80, channels=32, dilations=(1, 3, 6, 9), c1_in_channels=8, c1_channels=8),
            auxiliary_head=dict(in_channels=24, channels=16))))
