"""CWD on the logits, PSPNet-R101 to PSPNet-R18 on Cityscapes, crops of 512x512.

    python tools/train.py configs/segmentation/cwd/pspnet_r101_r18_cityscapes.py

Measured: not run (40k iterations).
Paper: 74.87 mIoU (PSPNet-R101 78.56, student alone 69.10), unverified; 75.90 by the name of the authors' best checkpoint,
verified.
"""
_base_ = [
    '../../_base_/datasets/cityscapes.py', '../../_base_/schedules/cityscapes_40k_b8.py',
    '../../_base_/pairs/pspnet_r101_r18_cityscapes.py', '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=8, dataset=dict(dataset=dict(pipeline=[  # 8 in one process
    dict(type='LoadImageFromFile'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='zoo.CheckLabelMap', num_classes=19),
    dict(type='mmseg.RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='mmseg.RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs')])))
data_preprocessor = dict(size=(512, 512))
task = dict(input_shape=(3, 512, 512))
model = dict(distillers=[dict(type='CWD', temperature=4.0, weight=3.0)])
