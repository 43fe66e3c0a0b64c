"""DocLayNet, document layouts: 69,375 train and 6,489 validation pages of 1025x1025, boxes and masks of 11 classes.

$ZOO_DATA/doclaynet/{PNG,COCO}, as the core archive has it.
"""
dataset_name = 'DocLayNet'
num_classes = 11

train_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/doclaynet', annotations='COCO/train.json', images='PNG',
        name=dataset_name, drop_empty=True, min_size=32, masks=True,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmdet.Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=2,
    num_workers=2,
    persistent_workers=True)
val_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/doclaynet', annotations='COCO/val.json', images='PNG',
        name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(1333, 800), keep_ratio=True),
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
    pad_mask=True,
    pad_size_divisor=32)
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 800, 800))
