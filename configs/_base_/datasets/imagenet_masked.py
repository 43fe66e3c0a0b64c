"""ImageNet for masked autoencoders: 196 patches of 16x16, of which 49 stay visible; MAE's crops; no labels."""
_base_ = 'imagenet.py'
train_dataloader = dict(
    batch_size=128, drop_last=True,
    dataset=dict(transforms=[
        # 2: bicubic
        dict(type='A.RandomResizedCrop', size=(224, 224), scale=(0.2, 1.0), interpolation=2, area_for_downscale='image'),
        dict(type='A.HorizontalFlip', p=0.5)]))
task = dict(_delete_=True, type='MaskedImages', input_shape=(3, 224, 224), patch_size=16, mask_ratio=0.75)
val_evaluator = dict(_delete_=True, type='ReconstructionMetric')
test_evaluator = val_evaluator
