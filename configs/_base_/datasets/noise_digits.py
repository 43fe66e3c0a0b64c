"""Noise with class labels in place of the digits' training images; the evaluation is that of the digits."""
_base_ = 'digits_diffusion.py'
train_dataloader = dict(dataset=dict(
    _delete_=True, type='NoiseDataset', length=1472, shape=(1, 16, 16), num_classes=10, name='noise (digits shape)'))
