"""BOOT on scikit-learn's handwritten digits: a one-step generator from noise and labels alone.

    python tools/train.py configs/diffusion/boot/unet_digits.py

The teacher comes from configs/diffusion/vanilla/unet_digits.py. No training images are read; the evaluation does.
Measured: fid_digits_resnet20 4.79, accuracy 89.7, in one step (360 images; seed 0; 197 s on one busy CPU core).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/noise_digits.py', '../../_base_/schedules/diffusion_digits.py',
    '../../_base_/pairs/unet_digits.py', '../../_base_/runtime_diffusion.py',
]
model = dict(distillers=[dict(type='BOOT', delta=0.04, boundary_weight=1.0, boundary_share=0.25, max_weight=100.0)])
task = dict(loss_weight=0.0, sampler=dict(type='boot', steps=1))
default_hooks = dict(logger=dict(monitor='fid_digits_resnet20'))
