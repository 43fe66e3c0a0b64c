"""CRD on scikit-learn's handwritten digits.

    python tools/train.py configs/classification/crd/resnet20_resnet8half_digits.py

512 negatives instead of 16384: the train set has about 1,290 images of other classes.
Measured: 98.61 top-1, last of 15 epochs, seed 0, 360 test images (student alone 99.17, teacher 98.61): no more
than a check that it trains; one image is 0.28.
Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digits.py', '../../_base_/schedules/digits.py',
    '../../_base_/pairs/resnet20_resnet8half_digits.py', '../../_base_/runtime.py',
]
model = dict(distillers=[
    dict(type='CRD', embedding_dim=128, num_negatives=512, temperature=0.07, momentum=0.5, weight=0.8)])
