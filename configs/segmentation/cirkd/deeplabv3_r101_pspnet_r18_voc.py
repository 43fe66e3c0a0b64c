"""CIRKD, DeepLabV3-R101 to PSPNet-R18 on VOC.

    python tools/train.py configs/segmentation/cirkd/deeplabv3_r101_pspnet_r18_voc.py

Measured: not run (40k iterations). Paper: 74.78 mIoU (student alone 73.33), verified.
"""
_base_ = [
    '../../_base_/datasets/voc_seg.py', '../../_base_/schedules/voc_seg_40k.py',
    '../../_base_/pairs/deeplabv3_r101_pspnet_r18_voc.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
model = dict(distillers=[dict(type='CIRKD', weight=1.0)])
