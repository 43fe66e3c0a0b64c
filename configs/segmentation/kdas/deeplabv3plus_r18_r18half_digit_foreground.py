"""KDAS in its repaired mode, digits against background.

    python tools/train.py configs/segmentation/kdas/deeplabv3plus_r18_r18half_digit_foreground.py

The attention term of the released code has no gradient (mode='official'); this one compares softmaxed maps and is ours, not the
authors'. One scale a batch, where the authors train each batch at three.

Measured: not run. Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/digit_scenes_foreground.py', '../../_base_/schedules/digit_scenes_seg.py',
    '../../_base_/pairs/deeplabv3plus_r18_r18half_digit_foreground.py', '../../_base_/runtime_segmentation.py',
]
task = dict(loss_weight=0.0)  # the term `seg` is the method's own task loss
model = dict(distillers=[dict(
    type='KDAS', temperature=2.0, alpha=0.3, mode='repaired', first='logits', second='aux_logits', weight=1.0)])
