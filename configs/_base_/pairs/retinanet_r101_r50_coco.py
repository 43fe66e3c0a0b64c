"""mmdet's RetinaNet on a ResNet-101 (38.9 mAP) teaches one on a ResNet-50 that starts from ImageNet."""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMDetModel', config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/'
                   'retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth'),
    student=dict(type='MMDetModel', config='mmdet::retinanet/retinanet_r50_fpn_2x_coco.py', pretrained=True))
