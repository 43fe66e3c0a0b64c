"""DIST on main and auxiliary logits, DeepLabV3-R101 to DeepLabV3-R18 on Cityscapes.

    python tools/train.py configs/segmentation/dist/deeplabv3_r101_r18_cityscapes.py

Measured: not run (40k iterations). Paper: 77.10 mIoU (DeepLabV3-R101 78.07, student alone 74.21), verified.
"""
_base_ = [
    '../../_base_/datasets/cityscapes.py', '../../_base_/schedules/cityscapes_40k.py',
    '../../_base_/pairs/deeplabv3_r101_r18_cityscapes.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
model = dict(distillers=[
    dict(type='DIST', temperature=1.0, weight=1.0),
    dict(type='DIST', temperature=1.0, student_tap='aux_logits', teacher_tap='aux_logits', name='dist_aux', weight=0.4)])
