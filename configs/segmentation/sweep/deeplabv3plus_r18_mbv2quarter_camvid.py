"""The base of sweeps on CamVid: a DeepLabV3+ on a ResNet-18 of half width teaches one on a MobileNetV2 of a quarter.

    python tools/sweep.py configs/segmentation/sweep/deeplabv3plus_r18_mbv2quarter_camvid.py --methods none cwd kd cirkd \\
        lad:deeplabv3plus_mbv2quarter_mbv2quarter_camvid

The teacher: python tools/train.py configs/segmentation/vanilla/deeplabv3plus_r18_camvid.py. LAD brings a teacher of its own,
of the student's size: configs/segmentation/lad/deeplabv3plus_mbv2quarter_camvid_teacher.py.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/pairs/deeplabv3plus_r18_mbv2quarter_camvid.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[])
