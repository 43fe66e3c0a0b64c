"""ResNet-8 of half width alone on scikit-learn's handwritten digits, labels only.

    python tools/train.py configs/classification/vanilla/resnet8half_digits.py
"""
_base_ = ['../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py', '../../_base_/runtime.py']
model = dict(type='Distillation', student=dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))
