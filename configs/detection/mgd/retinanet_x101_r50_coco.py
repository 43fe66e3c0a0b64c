"""MGD, RetinaNet on ResNeXt-101 to ResNet-50 on COCO, with the teacher's neck and head to start from.

    python tools/train.py configs/detection/mgd/retinanet_x101_r50_coco.py

Measured: not run (24 epochs).
Paper: 41.0 mAP (student alone 37.4), verified.
"""
_base_ = [
    '../../_base_/datasets/coco.py', '../../_base_/schedules/coco_2x.py',
    '../../_base_/pairs/retinanet_x101_r50_coco.py', '../../_base_/runtime_detection.py',
]
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
model = dict(student=dict(inherit=('neck', 'bbox_head')), distillers=[dict(type='MGD', alpha=2e-5, mask_ratio=0.65)])
