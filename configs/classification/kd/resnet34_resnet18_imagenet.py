"""KD on ImageNet-1k, ResNet-34 to ResNet-18.

    python tools/train.py configs/classification/kd/resnet34_resnet18_imagenet.py

Measured: not run.
Paper: 71.03 top-1 (teacher 73.31, student alone 69.75), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/imagenet_100e.py',
    '../../_base_/pairs/resnet34_resnet18_imagenet.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.5)
model = dict(distillers=[dict(type='KD', temperature=1.0, weight=0.5)])
train_dataloader = dict(batch_size=512)  # of all processes together
