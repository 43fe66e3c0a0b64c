"""BOOT on Stable Diffusion 2.1 with prompts in place of data: latents 64x64, fixed guidance 7.5.

    python tools/embed_prompts.py stabilityai/stable-diffusion-2-1-base prompts.txt work_dirs/prompts.safetensors
    python tools/train.py configs/diffusion/boot/sd21_prompts.py --amp fp16

Needs diffusers (pip install -e .[diffusion]), transformers for the first line, and a GPU with room for two U-Nets of 0.87 B.
Measured: not run. Paper: shows pictures for this pair, no table that we read.
"""
_base_ = '../../_base_/runtime.py'
teacher = dict(type='DiffusersModel', path='stabilityai/stable-diffusion-2-1-base')
model = dict(
    type='Distillation', teacher=dict(pretrained=True, **teacher), student=teacher,
    distillers=[dict(type='BOOT', delta=0.04, guidance_scale=7.5, boundary_weight=0.1, max_weight=100.0)])
task = dict(type='Diffusion', input_shape=(4, 64, 64), condition_shape=(77, 1024), loss_weight=0.0,
            sampler=dict(type='boot', steps=1, clip=False))
data_preprocessor = dict(type='BatchPreprocessor')
train_dataloader = dict(
    dataset=dict(type='NoiseDataset', length=100000, shape=(4, 64, 64), prompts='work_dirs/prompts.safetensors'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'), batch_size=8, drop_last=True, num_workers=2)
train_cfg = dict(type='EpochLoop', max_epochs=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.0),
                     clip_grad=dict(max_norm=1.0), accumulative_counts=4)
val_cfg = test_cfg = None
custom_hooks = [dict(type='EMAHook', decay=0.9999)]
