"""COCO32: 16 train and 16 validation images of COCO with its 80 classes; a smoke test, its scores mean nothing.

$ZOO_DATA/coco32/{images,annotations}, or $ZOO_DATA/coco32.zip with the same inside.
"""
dataset_name = 'COCO32'
num_classes = 80

train_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/coco32', annotations='annotations/instances_train2017.json',
        images='images/train2017', name=dataset_name,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(320, 320), keep_ratio=True),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=4,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(
        type='CocoDetection', root='{{$ZOO_DATA:data}}/coco32', annotations='annotations/instances_val2017.json',
        images='images/val2017', name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(320, 320), keep_ratio=True),
            # behind the resizing: the ground truth keeps the original size
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=4,
    drop_last=False,
    num_workers=0)
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
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 320, 320))
