"""SinKD beside KD on CIFAR-100, resnet32x4 to resnet8x4.

    python tools/train.py configs/classification/sinkd/resnet32x4_resnet8x4_cifar100.py

Measured: not run (240 epochs).
Paper: reports language tasks only.
The weight 0.001 is that of the paper's BERT runs; KD and its weights are the usual ones.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/resnet32x4_resnet8x4_cifar100.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.1)
model = dict(distillers=[
    dict(type='KD', temperature=4.0, weight=0.9),
    dict(type='SinKD', temperature=2.0, eps=0.1, n_iters=20, weight=0.001),
])
