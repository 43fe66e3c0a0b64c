"""ResNet-56 (option A) of akamaster/pytorch_resnet_cifar10, fine-tuned for two epochs on CIFAR-10-JPEG: a teacher.

    python tools/train.py configs/classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune.py \
        --cfg-options model.student.checkpoint.path=PATH/resnet56-....th
"""
_base_ = ['../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/finetune_2e.py', '../../_base_/runtime.py']
model = dict(
    type='Distillation',
    student=dict(type='resnet56', shortcut='A', checkpoint=dict(path='resnet56.th', rename='pytorch_resnet_cifar10')))
