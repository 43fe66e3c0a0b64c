"""GFL on a ResNet-50, alone, on COCO for 12 epochs; the backbone starts from torchvision's ImageNet weights (fetched).

    torchrun --nproc_per_node=8 tools/train.py configs/detection/vanilla/gfl_r50_coco.py --launcher pytorch

Measured: not run. mmdet's own model index states 40.2 box AP for this schedule.
"""
_base_ = ['../../_base_/datasets/coco.py', '../../_base_/schedules/coco_1x.py', '../../_base_/runtime_detection.py']
model = dict(
    type='Distillation',
    student=dict(type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py', pretrained=True))
