"""PHI-S on ImageNet's images without labels: DINOv2, CLIP and SigLIP (all of ViT-B's size) to one ViT-B/16.

    python tools/train.py configs/classification/phi_s/dinov2_clip_siglip_vit_base_imagenet.py

Ours, in small: the paper's teachers are of ViT-L's to ViT-g's size and its images DataComp-1B's. Each teacher gets its own
normalisation. No label is used, so that the run's top-1 says nothing: train a linear classifier on the released student.
Measured: not run. Paper: reports no run of this kind.
"""
_base_ = [
    '../../_base_/datasets/imagenet.py', '../../_base_/schedules/proteus_imagenet_300e.py', '../../_base_/runtime.py',
]
task = dict(loss_weight=0.0)
find_unused_parameters = True  # of several processes: no loss reaches the classifier
model = dict(
    type='Distillation',
    teacher=dict(type='TimmModel', model_name='vit_base_patch14_dinov2.lvd142m', img_size=224, num_classes=0,
                 pretrained=True, input=None),
    student=dict(type='TimmModel', model_name='vit_base_patch16_224'),
    distillers=[dict(type='PHIS', hidden_dim=1536, num_blocks=1, weight=1.0, teachers=[
        dict(type='TimmModel', model_name='vit_base_patch16_clip_224.openai', num_classes=0, pretrained=True),
        dict(type='TimmModel', model_name='vit_base_patch16_siglip_224.webli', num_classes=0, pretrained=True)])])
