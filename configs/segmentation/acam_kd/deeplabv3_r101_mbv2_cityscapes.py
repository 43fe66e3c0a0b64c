"""ACAM-KD on the logits, DeepLabV3-R101 to DeepLabV3-MobileNetV2 on Cityscapes.

    python tools/train.py configs/segmentation/acam_kd/deeplabv3_r101_mbv2_cityscapes.py

Measured: not run (40k iterations). Paper: 76.21 mIoU (DeepLabV3-R101 78.07, student alone 73.12), verified.
"""
_base_ = [
    '../../_base_/datasets/cityscapes.py', '../../_base_/schedules/cityscapes_40k.py',
    '../../_base_/pairs/deeplabv3_r101_mbv2_cityscapes.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
optim_wrapper = dict(optimizer=dict(weight_decay=5e-4))
model = dict(distillers=[dict(type='ACAM', alpha=1.0, lambda_=1.0, num_masks=19,
                              student_tap='logits', teacher_tap='logits', weight=1.0)])
