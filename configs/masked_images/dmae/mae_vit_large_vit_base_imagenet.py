"""DMAE on ImageNet, pre-training: MAE's ViT-L/16, run to block 17 of 24, teaches ViT-B/16.

    torchrun --nproc_per_node=8 tools/train.py configs/masked_images/dmae/mae_vit_large_vit_base_imagenet.py --launcher pytorch

(one process: python tools/train.py configs/masked_images/dmae/mae_vit_large_vit_base_imagenet.py)
Measured: not run (100 epochs). Paper: 84.0 top-1 after fine-tuning (83.6 with task.mask_ratio 0.95, 82.4 with 0.98), verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet_masked.py', '../../_base_/schedules/mae_imagenet_100e.py',
    '../../_base_/pairs/mae_vit_large_vit_base.py', '../../_base_/runtime_masked_images.py',
]
model = dict(distillers=[dict(type='DMAE', student_blocks=(8,), teacher_blocks=(17,), weight=1.0)])
