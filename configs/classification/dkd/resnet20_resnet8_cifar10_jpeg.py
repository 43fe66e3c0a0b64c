"""DKD between small ResNets on CIFAR-10-JPEG, 10,000 images, 4 epochs.

    python tools/train.py configs/classification/dkd/resnet20_resnet8_cifar10_jpeg.py

Measured: 55.96 +- 0.80 top-1 (student alone 51.70 +- 0.43, teacher 87.56), 3 seeds, last epoch, by the sweep
(zoo/tables/measured/cifar10_jpeg_resnet20_resnet8.md). Paper: reports nothing on this data set.
Beta is the paper's for its nearest pair, resnet56 to resnet20; the warm-up is its share of the run.
"""
_base_ = '../sweep/resnet20_resnet8_cifar10_jpeg.py'
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=2.0, temperature=4.0, warmup_epochs=0.3333, weight=1.0)])
