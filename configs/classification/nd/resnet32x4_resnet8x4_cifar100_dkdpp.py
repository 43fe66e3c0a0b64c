"""DKD++ (DKD and the ND term) on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/nd/resnet32x4_resnet8x4_cifar100_dkdpp.py

Measured: not run (240 epochs).
Paper: 76.28 top-1 (resnet32x4 79.42, student alone 72.50), verified (ND README).
Batch 128, lr 0.1, Nesterov. The released warm-up counts epochs from 0, ours from 1.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1, nesterov=True))
model = dict(distillers=[
    dict(type='DKD', alpha=2.0, beta=8.0, temperature=4.0, warmup_epochs=20, weight=1.0),
    dict(type='ND', weight=0.5),
])
