"""DMAE on CIFAR-10-JPEG, fine-tuning: the pre-trained encoder becomes a classifier.

    python tools/train.py configs/masked_images/dmae/mae_small_tiny_cifar10_jpeg_finetune.py

From scratch with the same budget: --cfg-options model.student.checkpoint=None --work-dir work_dirs/vit_mean_cifar10_jpeg
Measured: 51.81 top-1 after fine-tuning for 6 epochs on 10,000 images (from scratch 34.94 in 6,
44.57 in 14; seed 0, last epoch).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/mae_finetune_cifar10.py', '../../_base_/runtime.py',
]
model = dict(type='Distillation', student=dict(
    type='TimmModel', model_name='vit_tiny_patch16_224', img_size=32, patch_size=4, depth=6, embed_dim=96, num_heads=3,
    global_pool='avg', head_std=2e-5,
    checkpoint=dict(path='work_dirs/masked_images/dmae/mae_small_tiny_cifar10_jpeg/encoder.safetensors',
                    rename='mae_mean_pool', fresh=('head', 'fc_norm'))))
