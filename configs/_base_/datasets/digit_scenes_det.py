"""Scenes of real handwritten digits with boxes, 600 + 150 images at 96x96 (zoo.data.DigitScenes); nothing to download."""
dataset_name = 'DigitScenes'
num_classes = 10

train_dataloader = dict(
    dataset=dict(
        type='DigitScenes', train=True, form='detection', scenes=600, size=96,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            # no flips: a mirrored digit is another sign
            dict(type='DenseAlbumentations', transforms=[
                dict(type='A.Affine', scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), p=0.5),
                dict(type='A.RandomBrightnessContrast', p=0.3)]),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_size=16,
    drop_last=True,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(
        type='DigitScenes', train=False, form='detection', scenes=150, size=96,
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.PackDetInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_size=16,
    drop_last=False,
    num_workers=0)
test_dataloader = val_dataloader

# without ann_file the ground truth comes with the samples
val_evaluator = dict(type='mmdet.CocoMetric', metric='bbox', classwise=True)
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='mmdet.DetDataPreprocessor',
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    bgr_to_rgb=True,
    pad_size_divisor=32)
task = dict(type='Detection', num_classes=num_classes, input_shape=(3, 96, 96))
