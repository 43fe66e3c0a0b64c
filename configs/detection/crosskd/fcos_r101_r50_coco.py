"""CrossKD, FCOS on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/crosskd/fcos_r101_r50_coco.py

Measured: not run (24 epochs).
Paper: 41.1 mAP (FCOS-R101 40.8, student alone 38.5), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_2x.py',
    '../../_base_/pairs/fcos_r101_r50_coco.py', '../../_base_/runtime_detection.py',
]
data_preprocessor = dict(mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0), bgr_to_rgb=False)
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.RandomChoiceResize', scales=[(1333, 640), (1333, 800)], keep_ratio=True),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs')]))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2), paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0))
model = dict(distillers=[dict(type='CrossKD', cut=2, cls_weight=0.4, reg_weight=0.75)])
