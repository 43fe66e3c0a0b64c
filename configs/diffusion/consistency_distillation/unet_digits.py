"""Consistency distillation on scikit-learn's handwritten digits: a generator of one step, or a few.

    python tools/train.py configs/diffusion/consistency_distillation/unet_digits.py

The teacher comes from configs/diffusion/vanilla/unet_digits.py.
sigma_data is 1, as fits a variance-preserving v-network.
Measured: fid_digits_resnet20 5.27, accuracy 92.8, in one step (360 images; seed 0; 293 s on one busy CPU core).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits_diffusion.py', '../../_base_/schedules/diffusion_digits.py',
    '../../_base_/pairs/unet_digits.py', '../../_base_/runtime_diffusion.py',
]
model = dict(distillers=[dict(type='ConsistencyDistillation', num_scales=18, sigma_data=1.0, target_ema=0.95)])
task = dict(loss_weight=0.0, sampler=dict(type='consistency', steps=1, num_scales=18, sigma_data=1.0))
default_hooks = dict(logger=dict(monitor='fid_digits_resnet20'))
