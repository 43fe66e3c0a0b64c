"""PHI-S on scikit-learn's handwritten digits: a ViT and a ResNet-20 teach one student.

    python tools/train.py configs/classification/phi_s/vit_resnet20_vithalf_digits.py

The method uses no labels; here the cross-entropy stays beside it, so that the run's top-1 says something.
Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/vit_digits.py',
    '../../_base_/pairs/vit_vithalf_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(
    type='PHIS', weight=1.0,
    teachers=[dict(type='resnet20', checkpoint='zoo://resnet20_digits', spatial_tap='final_map')])])
