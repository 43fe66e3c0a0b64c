"""WKD-L and WKD-F on CIFAR-100, wrn_40_2 to ShuffleV1.

    python tools/train.py configs/classification/wkd/wrn_40_2_ShuffleV1_cifar100.py

Measured: not run (240 epochs).
Paper: 77.50 top-1 (wrn_40_2 75.61, student alone 70.50), verified (WKD README).
The student's last map, 4x4, has no variance in a 4x4 grid: the stage before it, 8x8 like the teacher's last, is our
reading.
"""
_base_ = [
    '../../_base_/datasets/cifar100.py', '../../_base_/schedules/cifar_240e.py',
    '../../_base_/pairs/wrn_40_2_ShuffleV1_cifar100.py', '../../_base_/runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
model = dict(distillers=[
    dict(type='WKDL', temperature=4.0, gamma=60.0, sharpen=1.0, decay_start=150, weight=1.0),
    dict(type='WKDF', student_tap='stages.-2', mean_cov_ratio=3.0, grid=4, decay_start=150, weight=0.5),
])
