"""DMAE on ImageNet, fine-tuning of the pre-trained ViT-B/16.

    python tools/train.py configs/masked_images/dmae/mae_vit_large_vit_base_imagenet_finetune.py

Measured: not run (100 epochs). Paper: 84.0 top-1, verified; with RandAugment (m9, mstd 0.5), which is missing here.
"""
_base_ = [
    '../../_base_/datasets/imagenet_strong.py', '../../_base_/schedules/mae_finetune_imagenet_100e.py',
    '../../_base_/runtime.py',
]
model = dict(type='Distillation', student=dict(
    type='TimmModel', model_name='vit_base_patch16_224', global_pool='avg', drop_path_rate=0.15, head_std=2e-5,
    checkpoint=dict(path='work_dirs/masked_images/dmae/mae_vit_large_vit_base_imagenet/encoder.safetensors',
                    rename='mae_mean_pool', fresh=('head', 'fc_norm'))))
