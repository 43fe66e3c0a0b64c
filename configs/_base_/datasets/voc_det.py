"""Pascal VOC 2007+2012 trainval, tested on VOC 2007 test, $ZOO_DATA/VOCdevkit/{VOC2007,VOC2012}: 1000x600, flips.

The metric is COCO's (as in the papers on distillation that report AP on VOC); difficult objects count as crowds.
"""
dataset_name = 'VOC07+12'
num_classes = 20

train_dataloader = dict(
    dataset=dict(
        type='VocDetection', root='{{$ZOO_DATA:data}}/VOCdevkit', split=('VOC2007/trainval', 'VOC2012/trainval'),
        classes=('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
                 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
        name=dataset_name, drop_empty=True, min_size=32,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(1000, 600), keep_ratio=True),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='mmdet.AspectRatioBatchSampler'),
    batch_size=2,
    num_workers=2,
    persistent_workers=True)
val_dataloader = dict(
    dataset=dict(
        type='VocDetection', root='{{$ZOO_DATA:data}}/VOCdevkit', split='VOC2007/test',
        classes=('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
                 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
        name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(1000, 600), keep_ratio=True),
            # behind the resizing: the ground truth keeps the original size
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=2,
    drop_last=False,
    num_workers=2,
    persistent_workers=True)
test_dataloader = val_dataloader

# the ground truth comes with the samples
val_evaluator = dict(type='mmdet.CocoMetric', metric='bbox')
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmdet.DetDataPreprocessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_size_divisor=32)
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 608, 1024))
