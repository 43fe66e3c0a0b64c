"""LAD, stage 2, under a label-assisted teacher as small as the student, as in the paper, on CamVid, crops of 240x180.

    python tools/train.py configs/segmentation/lad/deeplabv3plus_mbv2quarter_mbv2quarter_camvid.py

Stage 1 is deeplabv3plus_mbv2quarter_camvid_teacher.py in this folder.

Measured: mIoU 39.30 and 41.32 on the validation, 36.71 and 35.77 on the test images
(student alone 38.54 and 40.86, 34.96 and 36.39);
seeds 0 and 1, last epoch; docs/dense.md. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/pairs/lad_deeplabv3plus_mbv2quarter_mbv2quarter_camvid.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='LAD', temperature=4.0, kd_weight=3.0, weight=1.0)])
