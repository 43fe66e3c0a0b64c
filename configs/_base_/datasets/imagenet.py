"""ImageNet-1k class folders, $ZOO_DATA/imagenet/{train,val}/<wnid>/*.JPEG."""
dataset_name = 'ImageNet'
num_classes = 1000

train_dataloader = dict(
    dataset=dict(
        type='ImageFolder', root='{{$ZOO_DATA:data}}/imagenet', split='train', name=dataset_name,
        transforms=[
            dict(type='A.RandomResizedCrop', size=(224, 224), area_for_downscale='image'),
            dict(type='A.HorizontalFlip', p=0.5)]),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True)
val_dataloader = dict(
    dataset=dict(
        type='ImageFolder', root='{{$ZOO_DATA:data}}/imagenet', split='val', name=dataset_name,
        transforms=[dict(type='ResizeShorterSide', size=256), dict(type='A.CenterCrop', height=224, width=224)]),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=256,
    drop_last=False,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassificationMetric')
test_evaluator = val_evaluator

data_preprocessor = dict(
    type='BatchPreprocessor',
    # the ImageNet statistics of torchvision and timm
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augment=[])
task = dict(type='Classification', num_classes=num_classes, input_shape=(3, 224, 224))
