"""resnet8 alone on MNIST (first 3,000 test images), labels only.

    python tools/train.py configs/classification/vanilla/resnet8_mnist.py

Measured: 98.73 top-1 after 3 epochs, seed 0, last epoch (--cfg-options train_cfg.max_epochs=3 param_scheduler.1.end=3
param_scheduler.1.T_max=2).
"""
_base_ = ['../../_base_/datasets/mnist.py', '../../_base_/schedules/digits.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet8'))
