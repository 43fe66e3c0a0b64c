"""Adaptive collaboration on MNIST: BOOT's student draws in one step, the teacher refines the half that scores lowest.

    python tools/sample.py configs/diffusion/adaptive_collab/unet_mnist.py STUDENT.safetensors

Nothing is trained: student and teacher are those of configs/diffusion/boot/unet_mnist.py (tools/train.py would train that
student again). An image's score is the log-probability that a classifier gives its class.
Measured: fid_mnist_resnet8 0.27 at 2.94 steps on average (1,000 images, seed 0; see docs/diffusion.md). Paper: reports nothing
on this data set.
"""
_base_ = ['../boot/unet_mnist.py']
collaboration = dict(
    estimator=dict(network='work_dirs/classification/vanilla/resnet8_mnist/student.safetensors', pad=2),
    percentile=50, calibration=500, strategy='refine', strength=0.4, teacher_steps=4)
