"""BCCD, blood cells: 205 train, 87 validation and 72 test images of 640x480, VOC boxes of 3 classes, seen at 320x240.

$ZOO_DATA/bccd/BCCD/{JPEGImages,Annotations,ImageSets}, or $ZOO_DATA/bccd.zip with the same inside. Licence MIT:
https://github.com/Shenggan/BCCD_Dataset
"""
dataset_name = 'BCCD'
num_classes = 3

train_dataloader = dict(
    dataset=dict(
        type='VocDetection', root='{{$ZOO_DATA:data}}/bccd', folder='BCCD', split='train', classes=('RBC', 'WBC', 'Platelets'),
        name=dataset_name,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(320, 240), keep_ratio=True),
            # cells have no up and down
            dict(type='mmdet.RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='DenseAlbumentations', transforms=[
                dict(type='A.RandomBrightnessContrast', brightness_limit=0.15, contrast_limit=0.15, p=0.5),
                dict(type='A.HueSaturationValue', hue_shift_limit=8, sat_shift_limit=15, val_shift_limit=0, p=0.5)]),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=8,
    drop_last=True,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(
        type='VocDetection', root='{{$ZOO_DATA:data}}/bccd', folder='BCCD', split='val', classes=('RBC', 'WBC', 'Platelets'),
        name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(320, 240), keep_ratio=True),
            # behind the resizing: the ground truth keeps the original size
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=8,
    drop_last=False,
    num_workers=0)
test_dataloader = dict(
    dataset=dict(
        type='VocDetection', root='{{$ZOO_DATA:data}}/bccd', folder='BCCD', split='test', classes=('RBC', 'WBC', 'Platelets'),
        name=dataset_name, test_mode=True,
        pipeline=[
            dict(type='mmdet.Resize', scale=(320, 240), keep_ratio=True),
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=8,
    drop_last=False,
    num_workers=0)

# the ground truth comes with the samples
val_evaluator = dict(type='mmdet.CocoMetric', metric='bbox', classwise=True)
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmdet.DetDataPreprocessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_size_divisor=32)
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 256, 320))
