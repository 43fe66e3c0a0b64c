"""DMAE on CIFAR-10-JPEG, pre-training: a masked autoencoder of 8 blocks teaches one of 6.

    python tools/train.py configs/masked_images/dmae/mae_small_tiny_cifar10_jpeg.py

Writes reconstructions.png and encoder.safetensors, which mae_small_tiny_cifar10_jpeg_finetune.py starts from.
Measured: 51.81 top-1 after fine-tuning for 6 epochs on 10,000 images (from scratch 34.94 in 6,
44.57 in 14; seed 0, last epoch).
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/cifar10_jpeg_masked.py', '../../_base_/schedules/mae_cifar10.py',
    '../../_base_/pairs/mae_small_tiny_cifar10_jpeg.py', '../../_base_/runtime_masked_images.py',
]
model = dict(distillers=[dict(type='DMAE', student_blocks=(3,), teacher_blocks=(5,), weight=1.0)])
