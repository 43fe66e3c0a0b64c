"""OFA-KD on ImageNet, Swin-T to MobileNetV2.

    python tools/train.py configs/classification/ofa_kd/swin_tiny_mobilenetv2_imagenet.py

Measured: not run (100 epochs).
Paper: 72.32 top-1 (teacher 81.38, student alone 68.87), unverified.
eps is the method's default; the paper chooses it for each pair, between 1 and 1.5, and ours is not known.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/ofa_imagenet_100e.py',
    '../../_base_/runtime.py',
]
task = dict(label_smoothing=0.1)
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='swin_tiny_patch4_window7_224.ms_in1k', pretrained=True),
    student=dict(type='TimmModel', model_name='mobilenetv2_100'),
    distillers=[dict(type='OFAKD', eps=1.0)])
