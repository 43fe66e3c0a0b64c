"""ResNet-20 alone on scikit-learn's handwritten digits, labels only.

    python tools/train.py configs/classification/vanilla/resnet20_digits.py
"""
_base_ = ['../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='resnet20'))
