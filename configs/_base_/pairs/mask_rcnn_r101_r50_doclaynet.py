"""A Mask R-CNN on a ResNet-101 teaches one on a ResNet-50 that starts from ImageNet, neck and heads from the teacher.

The teacher: configs/detection/vanilla/mask_rcnn_r101_doclaynet.py.
"""
model = dict(
    type='Distillation',
    teacher=dict(type='MMDetModel', config='mmdet::mask_rcnn/mask-rcnn_r101_fpn_2x_coco.py',
                 checkpoint='work_dirs/detection/vanilla/mask_rcnn_r101_doclaynet/student.safetensors'),
    student=dict(type='MMDetModel', config='mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py', pretrained=True,
                 inherit=('neck', 'rpn_head', 'roi_head')))
