"""BOOT on MNIST: a one-step generator from noise and labels alone.

    python tools/train.py configs/diffusion/boot/unet_mnist.py

The teacher comes from configs/diffusion/vanilla/unet_mnist.py. No training images are read; the evaluation does.
Measured: fid_mnist_resnet8 0.41 in one step, accuracy 96.7 (1,000 images, seed 0, last epoch; see docs/diffusion.md). Paper:
reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/noise_mnist.py', '../../_base_/schedules/diffusion_mnist.py',
    '../../_base_/pairs/unet_mnist.py', '../../_base_/runtime_diffusion.py',
]
model = dict(distillers=[dict(type='BOOT', delta=0.04, boundary_weight=1.0, boundary_share=0.25, max_weight=100.0)])
task = dict(loss_weight=0.0, sampler=dict(type='boot', steps=1))
default_hooks = dict(logger=dict(monitor='fid_mnist_resnet8'))
custom_hooks = [dict(type='EMAHook', decay=0.99)]  # a run of so few steps
