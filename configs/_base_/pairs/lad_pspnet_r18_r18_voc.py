"""A label-assisted PSPNet on a ResNet-18 teaches an ordinary one of the same size, VOC.

The teacher: configs/segmentation/lad/pspnet_r18_voc_teacher.py. Its label map is a ramp now, as released. The authors start
the student from a trained checkpoint of the same network, here it starts from ImageNet.
"""
model = dict(
    type='Distillation',
    teacher=dict(
        type='LabelAssistedSegmentor', config='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        noise='ramp', pixel_sigma=0.02,
        checkpoint='work_dirs/segmentation/lad/pspnet_r18_voc_teacher/student.safetensors'),
    student=dict(
        type='MMSegModel', config='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        pretrained=True,
        model=dict(decode_head=dict(dropout_ratio=0.01), auxiliary_head=dict(loss_decode=dict(loss_weight=0.02)))))
