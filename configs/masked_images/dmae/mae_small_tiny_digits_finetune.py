"""DMAE on scikit-learn's handwritten digits, fine-tuning: the pre-trained encoder becomes a classifier.

    python tools/train.py configs/masked_images/dmae/mae_small_tiny_digits_finetune.py

From scratch with the same budget: --cfg-options model.student.checkpoint=None --work-dir work_dirs/vit_mean_digits
Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/mae_finetune_digits.py', '../../_base_/runtime.py',
]
model = dict(type='Distillation', student=dict(
    type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, embed_dim=48, num_heads=3,
    global_pool='avg', head_std=2e-5,
    checkpoint=dict(path='work_dirs/masked_images/dmae/mae_small_tiny_digits/encoder.safetensors', rename='mae_mean_pool',
                    fresh=('head', 'fc_norm'))))
