"""The base of sweeps on MNIST: ResNet-8 teaches a ResNet-8 of half the width, 2,000 training images, 10 epochs.

    python tools/sweep.py configs/classification/sweep/resnet8_resnet8half_mnist.py --methods none kd fitnets --seeds 0 1 2

The teacher: python tools/train.py configs/classification/vanilla/resnet8_mnist.py
"""
_base_ = ['../../_base_/datasets/mnist.py', '../../_base_/runtime.py']
train_dataloader = dict(dataset=dict(subset=2000))
train_cfg = dict(type='EpochLoop', max_epochs=10, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=10, T_max=10, convert_to_iter_based=True)]
model = dict(
    type='Distillation',
    teacher=dict(type='resnet8', checkpoint='work_dirs/classification/vanilla/resnet8_mnist/student.safetensors'),
    student=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)),
    distillers=[])
