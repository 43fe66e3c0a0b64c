"""CIFAR-10 by torchvision, under $ZOO_DATA (default data/); download=True fetches it."""
dataset_name = 'CIFAR-10'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='CIFAR10', root='{{$ZOO_DATA:data}}', train=True, download=False),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='CIFAR10', root='{{$ZOO_DATA:data}}', train=False, download=False),
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
    # the usual values of the 50,000 train images; not measured here, for want of a lossless copy
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    augment=[dict(type='RandomCropFlip', padding=4)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 32, 32))
