"""CIFAR-100 at 224x224 in batches of 128, for networks of ImageNet's size."""
_base_ = ['cifar100.py']
train_dataloader = dict(
    dataset=dict(transforms=[
        dict(type='A.RandomResizedCrop', size=(224, 224)),
        dict(type='A.HorizontalFlip', p=0.5)]),
    batch_size=128, num_workers=8, persistent_workers=True)
val_dataloader = dict(
    dataset=dict(transforms=[dict(type='A.Resize', height=224, width=224)]),
    num_workers=8, persistent_workers=True)
test_dataloader = val_dataloader
data_preprocessor = dict(augment=[])
task = dict(input_shape=(3, 224, 224))
