"""mmdet's FCOS on a ResNet-101 (40.8 mAP with its own recipe) teaches one on a ResNet-50 that starts from ImageNet.

Both take BGR images of the mean alone; the config that reads this sets ``data_preprocessor`` accordingly.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMDetModel', config='mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/'
                   'fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth'),
    student=dict(
        type='MMDetModel', config='mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py', pretrained=True))
