"""torchvision's ResNet-34 teaches a ResNet-18 on ImageNet-1k."""
model = dict(
    type='Distillation',
    teacher=dict(type='TorchvisionModel', model_name='resnet34', weights='IMAGENET1K_V1'),
    student=dict(type='TorchvisionModel', model_name='resnet18'))
