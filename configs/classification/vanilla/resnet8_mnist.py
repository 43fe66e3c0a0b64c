"""resnet8 alone on MNIST (first 3,000 test images), labels only.

    python tools/train.py configs/classification/vanilla/resnet8_mnist.py

Measured: not run.
"""
_base_ = ['../../_base_/datasets/mnist.py', '../../_base_/schedules/digits.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet8'))
