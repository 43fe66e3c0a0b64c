"""OFA-KD on ImageNet, Mixer-B/16 to ResNet18.

    python tools/train.py configs/classification/ofa_kd/mixer_b16_resnet18_imagenet.py

Measured: not run (100 epochs).
Paper: 71.38 top-1 (teacher 76.62, student alone 69.75), unverified.
eps is the method's default; the paper chooses it for each pair, between 1 and 1.5, and ours is not known.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/ofa_imagenet_100e.py',
    '../../_base_/runtime.py',
]
task = dict(label_smoothing=0.1)
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='mixer_b16_224.goog_in21k_ft_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='resnet18'),
    distillers=[dict(type='OFAKD', eps=1.0)])
