"""Noise with class labels in place of MNIST's training images; the evaluation is MNIST's."""
_base_ = 'mnist_diffusion.py'
train_dataloader = dict(dataset=dict(
    _delete_=True, type='NoiseDataset', length=32000, shape=(1, 28, 28), num_classes=10, name='noise (MNIST shape)'))
