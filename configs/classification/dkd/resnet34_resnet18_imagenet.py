"""DKD on ImageNet-1k, ResNet-34 to ResNet-18.

    python tools/train.py configs/classification/dkd/resnet34_resnet18_imagenet.py

Measured: not run.
Paper: 71.70 top-1 (teacher 73.31, student alone 69.75), as in the mdistiller README, verified.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/imagenet_100e.py',
    '../../_base_/pairs/resnet34_resnet18_imagenet.py', '../../_base_/runtime.py',
]
model = dict(distillers=[dict(type='DKD', alpha=1.0, beta=0.5, temperature=1.0, warmup_epochs=1)])
train_dataloader = dict(batch_size=512)  # of all processes together
