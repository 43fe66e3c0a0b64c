"""ResNet-56 with parameter-free shortcuts (the CIFAR-10 paper's), for the weights of akamaster/pytorch_resnet_cifar10.

    python tools/test.py configs/classification/vanilla/resnet56_optiona_cifar10_jpeg.py \
        --cfg-options model.student.checkpoint.path=PATH/resnet56-....th

Those weights were trained on lossless images with the ImageNet statistics.
"""
_base_ = ['../../_base_/datasets/cifar10_jpeg.py', '../../_base_/schedules/cifar_240e.py', '../../_base_/runtime.py']
data_preprocessor = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
model = dict(
    type='Distillation',
    student=dict(type='resnet56', shortcut='A', checkpoint=dict(path='resnet56.th', rename='pytorch_resnet_cifar10')))
