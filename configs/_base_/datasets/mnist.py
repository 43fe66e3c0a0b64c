"""MNIST, 60,000 train and the first 3,000 test images, padded to 32x32 RGB; $ZOO_DATA/mnist.npz."""
dataset_name = 'MNIST (first 3,000 test images)'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/mnist.npz', train=True, name=dataset_name,
                 channels=3, pad=2),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/mnist.npz', train=False, name=dataset_name,
                 channels=3, pad=2),
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
    # measured on the 60,000 train images after padding to 32x32
    mean=(0.1000, 0.1000, 0.1000),
    std=(0.2752, 0.2752, 0.2752),
    augment=[dict(type='RandomCropFlip', padding=4, flip=False)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 32, 32))
