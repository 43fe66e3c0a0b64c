"""Pascal VOC 2012, $ZOO_DATA/VOCdevkit/VOC2012, trained with the 10,582 images of SBD
(SegmentationClassAug): crops of 512x512.
"""
dataset_name = 'VOC 2012 aug'
num_classes = 21

train_dataloader = dict(
    dataset=dict(
        type='OpenMMLabDataset', name=dataset_name, dataset=dict(
            type='mmseg.PascalVOCDataset', data_root='{{$ZOO_DATA:data}}/VOCdevkit/VOC2012',
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
            ann_file='ImageSets/Segmentation/trainaug.txt',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmseg.LoadAnnotations'),
                dict(type='zoo.CheckLabelMap', num_classes=num_classes),
                dict(type='mmseg.RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
                dict(type='mmseg.RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
                dict(type='mmseg.RandomFlip', prob=0.5),
                dict(type='mmseg.PhotoMetricDistortion'),
                dict(type='mmseg.PackSegInputs')])),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=4,
    drop_last=True,
    num_workers=4,
    persistent_workers=True)
val_dataloader = dict(
    dataset=dict(
        type='OpenMMLabDataset', name=dataset_name, dataset=dict(
            type='mmseg.PascalVOCDataset', data_root='{{$ZOO_DATA:data}}/VOCdevkit/VOC2012', test_mode=True,
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
            ann_file='ImageSets/Segmentation/val.txt',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmseg.Resize', scale=(2048, 512), keep_ratio=True),
                # behind the resizing: the ground truth keeps the original size
                dict(type='mmseg.LoadAnnotations'),
                dict(type='zoo.CheckLabelMap', num_classes=num_classes),
                dict(type='mmseg.PackSegInputs')])),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=1,
    num_workers=4,
    persistent_workers=True)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmseg.SegDataPreProcessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(512, 512))
task = dict(type='Segmentation', num_classes=num_classes, input_shape=(3, 512, 512))
