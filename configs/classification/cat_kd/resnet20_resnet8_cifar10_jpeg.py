"""CAT-KD between small ResNets on CIFAR-10-JPEG, 10,000 images, 4 epochs.

    python tools/train.py configs/classification/cat_kd/resnet20_resnet8_cifar10_jpeg.py

Measured: not run. Paper: reports nothing on this data set.
The outer weight is the paper's beta for its nearest pair, resnet56 to resnet20.
"""
_base_ = '../sweep/resnet20_resnet8_cifar10_jpeg.py'
model = dict(distillers=[dict(type='CATKD', resolution=2, normalize=False, weight=0.7)])
