"""scikit-learn digits, 1,437 train and 360 test images at 16x16 (see zoo.data.Digits); nothing to download."""
dataset_name = 'digits'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='Digits', train=True, size=16),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='Digits', train=False, size=16),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=256,
    drop_last=False,
    num_workers=0)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassificationMetric')
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='BatchPreprocessor',
    # measured on the 1,437 train images at 16x16
    mean=(0.3054, 0.3054, 0.3054),
    std=(0.3187, 0.3187, 0.3187),
    augment=[dict(type='RandomCropFlip', padding=2, flip=False)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 16, 16))
