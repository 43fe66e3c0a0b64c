"""Progressive distillation on scikit-learn's handwritten digits: 8 steps of the teacher become 4, 2 and 1.

    python tools/train.py configs/diffusion/progressive_distillation/unet_digits.py

The teacher comes from configs/diffusion/vanilla/unet_digits.py. Writes student_4_steps, _2_steps and _1_steps.safetensors.
Measured: fid_digits_resnet20 3.89, accuracy 91.7, in one step (360 images; seed 0; 180 s on one busy CPU core).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits_diffusion.py', '../../_base_/schedules/diffusion_digits.py',
    '../../_base_/pairs/unet_digits.py', '../../_base_/runtime_diffusion.py',
]
model = dict(distillers=[dict(type='ProgressiveDistillation', start_steps=8, end_steps=1)])
task = dict(loss_weight=0.0, sampler=dict(type='ddim', steps=1))
param_scheduler = None  # the hook lets the rate fall in each round
custom_hooks = [dict(type='ProgressiveRoundsHook')]
default_hooks = dict(logger=dict(monitor='fid_digits_resnet20'))
