"""CIFAR-100 by torchvision, under $ZOO_DATA (default data/); download=True fetches it."""
dataset_name = 'CIFAR-100'
num_classes = 100

train_dataloader = dict(
    dataset=dict(type='CIFAR100', root='{{$ZOO_DATA:data}}', train=True, download=False),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='CIFAR100', root='{{$ZOO_DATA:data}}', train=False, download=False),
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
    # of the train images, as in the CIFAR-100 distillation literature (megvii-research/mdistiller)
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    augment=[dict(type='RandomCropFlip', padding=4)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 32, 32))
