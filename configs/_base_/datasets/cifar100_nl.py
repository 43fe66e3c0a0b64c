"""CIFAR-100-NL: exact pixels, clean test labels, about 20 % wrong train labels; $ZOO_DATA/cifar100_nl.npz."""
dataset_name = 'CIFAR-100-NL'
num_classes = 100

train_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/cifar100_nl.npz', train=True, name=dataset_name),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/cifar100_nl.npz', train=False, name=dataset_name),
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
    # of the train images, as in the CIFAR-100 distillation literature (megvii-research/mdistiller);
    # measured on these 49,999: 0.5071 0.4866 0.4409, 0.2673 0.2564 0.2761
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    augment=[dict(type='RandomCropFlip', padding=4)])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 32, 32))
