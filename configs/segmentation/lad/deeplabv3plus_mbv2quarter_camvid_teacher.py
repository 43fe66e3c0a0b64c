"""LAD, stage 1: a label-assisted teacher as small as the student, on CamVid, crops of 240x180.

    python tools/train.py configs/segmentation/lad/deeplabv3plus_mbv2quarter_camvid_teacher.py

Its mIoU is privileged: this network sees the noised ground truth of the validation images too. Compare students only.

Measured: mIoU 41.31 on the validation images, whose labels it sees; seed 0, last epoch.
Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/runtime_segmentation.py',
]
model = dict(
    type='Distillation',
    student=dict(
        type='LabelAssistedSegmentor',
        config='mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py',
        model=dict(
            backbone=dict(widen_factor=0.25, strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2)),
            decode_head=dict(in_channels=80, channels=32, dilations=(1, 3, 6, 9), c1_in_channels=8, c1_channels=8),
            auxiliary_head=dict(in_channels=24, channels=16))),
    distillers=[dict(type='LADTeacher', temperature=4.0, consistency_weight=5.0, weight=1.0)])
