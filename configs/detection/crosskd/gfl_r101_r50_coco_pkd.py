"""CrossKD with PKD on the pyramids, GFL on ResNet-101 to ResNet-50 on COCO.

    python tools/train.py configs/detection/crosskd/gfl_r101_r50_coco_pkd.py

Measured: not run (12 epochs).
Paper: 43.9 mAP (GFL-R101 44.9, student alone 40.2), verified.
"""
_base_ = 'gfl_r101_r50_coco.py'
model = dict(distillers=[
    dict(type='CrossKD', cut=3, cls_weight=1.0, reg_weight=4.0), dict(type='PKD', levels=(0, 1, 2, 3, 4), weight=6.0)])
