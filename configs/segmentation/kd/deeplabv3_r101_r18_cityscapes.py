"""Knowledge distillation of every pixel, DeepLabV3-R101 to DeepLabV3-R18 on Cityscapes.

    python tools/train.py configs/segmentation/kd/deeplabv3_r101_r18_cityscapes.py

Measured: not run (40k iterations). Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/cityscapes.py', '../../_base_/schedules/cityscapes_40k.py',
    '../../_base_/pairs/deeplabv3_r101_r18_cityscapes.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
model = dict(distillers=[dict(type='KD', temperature=1.0, weight=1.0)])
