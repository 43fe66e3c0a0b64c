"""CIRKD with mini-batch and memory on CamVid, crops of 240x180.

    python tools/train.py configs/segmentation/cirkd/deeplabv3plus_r18_mbv2quarter_camvid.py

Memory and contrast are an eighth to a sixteenth of the paper's, and the mini-batch maps are pooled by 4, for the CPU.

Measured: mIoU 39.49 and 39.62 on the validation, 35.85 and 36.47 on the test images
(student alone 38.54 and 40.86, 34.96 and 36.39);
seeds 0 and 1, last epoch; docs/dense.md. Paper: reports nothing on this split at this size.
"""
_base_ = [
    '../../_base_/datasets/camvid.py', '../../_base_/schedules/camvid_30e.py',
    '../../_base_/pairs/deeplabv3plus_r18_mbv2quarter_camvid.py', '../../_base_/runtime_segmentation.py',
]
model = dict(distillers=[dict(
    type='CIRKD', pool=4, pixel_memory=2000, region_memory=200, pixel_contrast=256, region_contrast=128, weight=1.0)])
