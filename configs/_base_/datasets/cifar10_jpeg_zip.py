"""CIFAR-10-JPEG read from a zip of class folders, $ZOO_DATA/cifar10_jpeg.zip."""
dataset_name = 'CIFAR-10-JPEG'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='ImageFolder', root='{{$ZOO_DATA:data}}/cifar10_jpeg.zip', split='train', name=dataset_name),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=2,
    persistent_workers=True)
val_dataloader = dict(
    dataset=dict(type='ImageFolder', root='{{$ZOO_DATA:data}}/cifar10_jpeg.zip', split='test', name=dataset_name),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=256,
    drop_last=False,
    num_workers=2,
    persistent_workers=True)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassificationMetric')
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='BatchPreprocessor',
    # measured on the 50,000 JPEG train images
    mean=(0.4913, 0.4821, 0.4465),
    std=(0.2452, 0.2428, 0.2606),
    augment=[dict(type='RandomCropFlip', padding=4)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 32, 32))
