"""DeepLabV3 on a ResNet-101 teaches PSPNet on a ResNet-18, VOC.

The teacher's weights are mmseg's own; the student's backbone starts from ImageNet.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMSegModel', config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
        checkpoint=(
            'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/deeplabv3_r101-d8_512x512_40k_voc12aug/'
            'deeplabv3_r101-d8_512x512_40k_voc12aug_20200613_161432-0017d784.pth')),
    student=dict(
        type='MMSegModel', config='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        pretrained=True))
