"""mmdet's GFL on a ResNet-101 (44.7 mAP) teaches one on a ResNet-18 that starts from ImageNet."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/'
                   'gfl/gfl_r101_fpn_mstrain_2x_coco/gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth'),
    student=dict(
        type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py', pretrained=True,
        model=dict(
            backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
            neck=dict(in_channels=[64, 128, 256, 512]))))
