"""DeepLabV3 on a ResNet-101 teaches DeepLabV3 on a MobileNetV2, Cityscapes.

The teacher's weights are mmseg's own; the student's backbone starts from ImageNet.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMSegModel', config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
        checkpoint=(
            'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/deeplabv3_r101-d8_512x1024_80k_cityscapes/'
            'deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899.pth')),
    student=dict(
        type='MMSegModel', config='mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
        pretrained=True))
