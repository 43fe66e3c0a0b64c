"""LumiNet on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/luminet/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: 77.50 top-1 (resnet32x4 79.42, student alone 72.50), verified (LumiNet README).
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=2.0)
model = dict(distillers=[dict(type='LumiNet', temperature=4.0, alpha=33.0, warmup_epochs=20, weight=1.0)])
