"""Consistency distillation on MNIST: a generator of one step, or a few.

    python tools/train.py configs/diffusion/consistency_distillation/unet_mnist.py

The teacher comes from configs/diffusion/vanilla/unet_mnist.py.
sigma_data is 1, as fits a variance-preserving v-network.
Measured: fid_mnist_resnet8 0.64, 0.47 and 0.48 in 1, 2 and 4 steps (1,000 images, seed 0; see docs/diffusion.md). Paper:
reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/mnist_diffusion.py', '../../_base_/schedules/diffusion_mnist.py',
    '../../_base_/pairs/unet_mnist.py', '../../_base_/runtime_diffusion.py',
]
train_dataloader = dict(dataset=dict(subset=32000))  # as many as BOOT's samples of noise
model = dict(distillers=[dict(type='ConsistencyDistillation', num_scales=18, sigma_data=1.0, target_ema=0.95)])
task = dict(loss_weight=0.0, sampler=dict(type='consistency', steps=1, num_scales=18, sigma_data=1.0))
default_hooks = dict(logger=dict(monitor='fid_mnist_resnet8'))
custom_hooks = [dict(type='EMAHook', decay=0.99)]  # a run of so few steps
