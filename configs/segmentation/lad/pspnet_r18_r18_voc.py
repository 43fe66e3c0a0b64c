"""LAD, stage 2: PSPNet-R18 under a label-assisted PSPNet-R18 on VOC.

    python tools/train.py configs/segmentation/lad/pspnet_r18_r18_voc.py

Stage 1 is pspnet_r18_voc_teacher.py in this folder.

Measured: not run (40k iterations). Paper: 75.4 mIoU (student alone 73.33), verified.
"""
_base_ = [
    '../../_base_/datasets/voc_seg.py', '../../_base_/schedules/voc_seg_40k.py',
    '../../_base_/pairs/lad_pspnet_r18_r18_voc.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # of the released log
model = dict(distillers=[dict(type='LAD', temperature=4.0, kd_weight=3.0, weight=1.0)])
