"""Progressive distillation on MNIST: 8 steps of the teacher become 4, 2 and 1.

    python tools/train.py configs/diffusion/progressive_distillation/unet_mnist.py

The teacher comes from configs/diffusion/vanilla/unet_mnist.py. Writes student_4_steps, _2_steps and _1_steps.safetensors.
Measured: fid_mnist_resnet8 0.46, 0.34 and 0.27 in 1, 2 and 4 steps (1,000 images, seed 0; see docs/diffusion.md). Paper:
reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/mnist_diffusion.py', '../../_base_/schedules/diffusion_mnist.py',
    '../../_base_/pairs/unet_mnist.py', '../../_base_/runtime_diffusion.py',
]
train_dataloader = dict(dataset=dict(subset=32000))  # as many as BOOT's samples of noise
model = dict(distillers=[dict(type='ProgressiveDistillation', start_steps=8, end_steps=1)])
task = dict(loss_weight=0.0, sampler=dict(type='ddim', steps=1))
param_scheduler = None  # the hook lets the rate fall in each round
custom_hooks = [dict(type='ProgressiveRoundsHook')]
default_hooks = dict(logger=dict(monitor='fid_mnist_resnet8'))
