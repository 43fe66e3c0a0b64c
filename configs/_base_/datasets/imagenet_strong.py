"""ImageNet-1k in batches of 128 with random erasing, mixup, CutMix and smoothed labels, for
transformers.

RandAugment, which DeiT's recipe has too, is not there: the zoo has none.
"""
_base_ = ['imagenet.py']
train_dataloader = dict(batch_size=128, dataset=dict(
    transforms=[
        dict(type='A.RandomResizedCrop', size=(224, 224), area_for_downscale='image'),
        dict(type='A.HorizontalFlip', p=0.5),
        dict(type='A.Erasing', fill='random', p=0.25)]))
data_preprocessor = dict(mixup=dict(
    mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=1000))
