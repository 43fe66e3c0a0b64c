"""CAT-KD between small ResNets on CIFAR-10-JPEG, 10,000 images, 4 epochs.

    python tools/train.py configs/classification/cat_kd/resnet20_resnet8_cifar10_jpeg.py

Measured: 59.74 +- 0.53 top-1 (student alone 51.70 +- 0.43, teacher 87.56), 3 seeds, last epoch, by the sweep
(zoo/tables/measured/cifar10_jpeg_resnet20_resnet8.md). Paper: reports nothing on this data set.
The outer weight is the paper's beta for its nearest pair, resnet56 to resnet20.
"""
_base_ = '../sweep/resnet20_resnet8_cifar10_jpeg.py'
model = dict(distillers=[dict(type='CATKD', resolution=2, normalize=False, weight=0.7)])
