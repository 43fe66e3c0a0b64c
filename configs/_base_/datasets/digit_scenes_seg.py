"""Scenes of real handwritten digits with label maps (background, 10 digits), 600 + 150 images at 96x96; no download."""
dataset_name = 'DigitScenes'
num_classes = 11

train_dataloader = dict(
    dataset=dict(
        type='DigitScenes', train=True, form='segmentation', scenes=600, size=96,
        pipeline=[
            dict(type='LoadLabelMap'),
            # no flips: a mirrored digit is another sign
            dict(type='DenseAlbumentations', transforms=[
                dict(type='A.Affine', scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), p=0.5),
                dict(type='A.RandomBrightnessContrast', p=0.3)]),
            dict(type='mmseg.PackSegInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=16,
    drop_last=True,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(
        type='DigitScenes', train=False, form='segmentation', scenes=150, size=96,
        pipeline=[
            dict(type='LoadLabelMap'),
            dict(type='mmseg.PackSegInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=16,
    drop_last=False,
    num_workers=0)
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
    size_divisor=32,
    test_cfg=dict(size_divisor=32))
task = dict(type='Segmentation', num_classes=num_classes, input_shape=(3, 96, 96))
