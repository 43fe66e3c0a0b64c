"""Knowledge distillation of every pixel, SegFormer-B2 to SegFormer-B0 on ADE20K.

    python tools/train.py configs/segmentation/kd/segformer_b2_b0_ade20k.py

Measured: not run (80k iterations). Paper: reports nothing on this data set.
"""
_base_ = [
    '../../_base_/datasets/ade20k.py', '../../_base_/schedules/ade20k_80k.py',
    '../../_base_/runtime_segmentation.py',
]
train_dataloader = dict(batch_size=16)  # in one process
model = dict(
    type='Distillation',
    teacher=dict(
        type='MMSegModel', config='mmseg::segformer/segformer_mit-b2_8xb2-160k_ade20k-512x512.py',
        checkpoint=(
            'https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b2_512x512_160k_ade20k/'
            'segformer_mit-b2_512x512_160k_ade20k_20210726_112103-cbd414ac.pth')),
    student=dict(
        type='MMSegModel', config='mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        pretrained=True),
    distillers=[dict(type='KD', temperature=1.0, weight=1.0)])
