"""CWD on the logits on CamVid, crops of 240x180.

    python tools/train.py configs/segmentation/cwd/deeplabv3plus_r18_mbv2quarter_camvid.py

Measured: mIoU 41.23 and 40.91 on the validation, 37.58 and 37.69 on the test images
(student alone 38.54 and 40.86, 34.96 and 36.39);
seeds 0 and 1, last epoch; docs/dense.md. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/pairs/deeplabv3plus_r18_mbv2quarter_camvid.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(type='CWD', temperature=4.0, weight=3.0)])
