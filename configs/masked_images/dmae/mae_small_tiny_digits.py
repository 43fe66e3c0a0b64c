"""DMAE on scikit-learn's handwritten digits, pre-training: a masked autoencoder of 8 blocks teaches one of 4.

    python tools/train.py configs/masked_images/dmae/mae_small_tiny_digits.py

Writes reconstructions.png and encoder.safetensors, which mae_small_tiny_digits_finetune.py starts from.
Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits_masked.py', '../../_base_/schedules/mae_digits.py',
    '../../_base_/pairs/mae_small_tiny_digits.py', '../../_base_/runtime_masked_images.py',
]
model = dict(distillers=[dict(type='DMAE', student_blocks=(2,), teacher_blocks=(5,), weight=1.0)])
