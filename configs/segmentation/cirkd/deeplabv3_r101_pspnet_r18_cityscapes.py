"""CIRKD, DeepLabV3-R101 to PSPNet-R18 on Cityscapes.

    python tools/train.py configs/segmentation/cirkd/deeplabv3_r101_pspnet_r18_cityscapes.py

The mini-batch maps of 64x128 are pooled by 2, whose pairs would else hold 67 million similarities each.

Measured: not run (40k iterations). Paper: 74.73 mIoU (DeepLabV3-R101 78.07, student alone 72.55), unverified.
"""
_base_ = [
    '../../_base_/datasets/cityscapes.py', '../../_base_/schedules/cityscapes_40k.py',
    '../../_base_/pairs/deeplabv3_r101_pspnet_r18_cityscapes.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
model = dict(distillers=[dict(type='CIRKD', pool=2, weight=1.0)])
