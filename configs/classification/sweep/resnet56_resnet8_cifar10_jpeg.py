"""The base of sweeps on CIFAR-10-JPEG: a ResNet-56 (parameter-free shortcuts) teaches a ResNet-8, 10,000 images, 2 epochs.

    python tools/sweep.py configs/classification/sweep/resnet56_resnet8_cifar10_jpeg.py --methods none kd dkd --seeds 0 1 2

The teacher: python tools/train.py configs/classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune.py
"""
_base_ = ['../../_base_/datasets/cifar10_jpeg.py', '../../_base_/runtime.py']
train_dataloader = dict(dataset=dict(subset=10000))
train_cfg = dict(type='EpochLoop', max_epochs=2)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=2, T_max=2, convert_to_iter_based=True)]
model = dict(
    type='Distillation',
    teacher=dict(
        type='resnet56', shortcut='A',
        checkpoint='work_dirs/classification/vanilla/resnet56_optiona_cifar10_jpeg_finetune/student.safetensors'),
    student=dict(type='resnet8'),
    distillers=[])
