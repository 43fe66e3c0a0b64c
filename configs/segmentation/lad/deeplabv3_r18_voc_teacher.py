"""LAD, stage 1: the label-assisted DeepLabV3-R18 on VOC.

    python tools/train.py configs/segmentation/lad/deeplabv3_r18_voc_teacher.py

Its mIoU is privileged: this network sees the noised ground truth of the validation images too. Compare students only.

Measured: not run (40k iterations). Paper: gives no score of its teachers.
"""
_base_ = [
    '../../_base_/datasets/voc_seg.py', '../../_base_/schedules/voc_seg_40k.py',
    '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # of the released log
model = dict(
    type='Distillation',
    student=dict(
        type='LabelAssistedSegmentor', config='mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        pretrained=True,
        model=dict(decode_head=dict(dropout_ratio=0.01))),
    distillers=[dict(type='LADTeacher', temperature=4.0, consistency_weight=5.0, weight=1.0)])
