"""mmdet's RetinaNet on a ResNeXt-101-64x4d (41.0 mAP) teaches one on a ResNet-50 that starts from ImageNet."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMDetModel', config='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/'
                   'retinanet/retinanet_x101_64x4d_fpn_1x_coco/retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth'),
    student=dict(type='MMDetModel', config='mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', pretrained=True))
