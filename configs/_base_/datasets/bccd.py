"""BCCD, blood cells: 205 train, 87 validation and 72 test images of 640x480, VOC boxes of 3 classes, seen at 320x240.

$ZOO_DATA/bccd/BCCD/{JPEGImages,Annotations,ImageSets}, or $ZOO_DATA/bccd.zip with the same inside. Licence MIT:
https://github.com/Shenggan/BCCD_Dataset
"""
dataset_name = 'BCCD'
num_classes = 3

_images = dict(
    type='VocDetection', root='{{$ZOO_DATA:data}}/bccd', folder='BCCD', classes=('RBC', 'WBC', 'Platelets'), name=dataset_name)
_resize = dict(type='mmdet.Resize', scale=(320, 240), keep_ratio=True)
_boxes = dict(type='mmdet.LoadAnnotations', with_bbox=True)
_pack = dict(type='mmdet.PackDetInputs')
# boxes are loaded behind the resizing: the ground truth keeps the original size
_evaluation = dict(
    dataset=dict(_images, test_mode=True, pipeline=[_resize, _boxes, _pack]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=8,
    drop_last=False,
    num_workers=0)

train_dataloader = dict(
    dataset=dict(
        _images, split='train',
        pipeline=[
            _boxes,
            _resize,
            # cells have no up and down
            dict(type='mmdet.RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='DenseAlbumentations', transforms=[
                dict(type='A.RandomBrightnessContrast', brightness_limit=0.15, contrast_limit=0.15, p=0.5),
                dict(type='A.HueSaturationValue', hue_shift_limit=8, sat_shift_limit=15, val_shift_limit=0, p=0.5)]),
            _pack]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=8,
    drop_last=True,
    num_workers=0)
val_dataloader = dict(_evaluation, dataset=dict(_evaluation['dataset'], split='val'))
test_dataloader = dict(_evaluation, dataset=dict(_evaluation['dataset'], split='test'))
del _images, _resize, _boxes, _pack, _evaluation

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
