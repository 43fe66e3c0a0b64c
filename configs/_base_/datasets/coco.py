"""COCO 2017, $ZOO_DATA/coco/{train2017,val2017,annotations}: the usual 1333x800, flips."""
dataset_name = 'COCO'
num_classes = 80

train_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/coco', annotations='annotations/instances_train2017.json',
        images='train2017', name=dataset_name, drop_empty=True, min_size=32,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='mmdet.AspectRatioBatchSampler'),
    batch_size=2,
    num_workers=2,
    persistent_workers=True)
val_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/coco', annotations='annotations/instances_val2017.json',
        images='val2017', name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(1333, 800), keep_ratio=True),
            # behind the resizing: the ground truth keeps the original size
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=2,
    drop_last=False,
    num_workers=2,
    persistent_workers=True)
test_dataloader = val_dataloader

# the official file: it knows the areas of the masks, by which objects count as small, medium or large
val_evaluator = dict(
    type='mmdet.CocoMetric', metric='bbox', ann_file='{{$ZOO_DATA:data}}/coco/annotations/instances_val2017.json')
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmdet.DetDataPreprocessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_size_divisor=32)
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 800, 1344))
