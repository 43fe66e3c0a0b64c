"""LAD, stage 2: a student without labels under the label-assisted teacher, on CamVid, crops of 240x180.

    python tools/train.py configs/segmentation/lad/deeplabv3plus_r18_mbv2quarter_camvid.py

Stage 1 is deeplabv3plus_r18_camvid_teacher.py in this folder.

Measured: not run. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/pairs/lad_deeplabv3plus_r18_mbv2quarter_camvid.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='LAD', temperature=4.0, kd_weight=3.0, weight=1.0)])
