"""Distilling masked autoencoders.

Bai, Wang, Xiao, Wei, Wang, Yuille, Zhou, Xie: Masked Autoencoders Enable Efficient Knowledge Distillers. CVPR 2023,
arXiv:2208.12256. Reference code: UCSC-VLAA/DMAE@a0f4959 (models_mae_distill.py), which runs the whole teacher with its
decoder; here it stops behind the aligned block, as the paper says, with the same values. The reconstruction is that of
facebookresearch/mae@efb2a80 and belongs to the task (zoo.tasks.MaskedImages).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.mae import patchify
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['DMAE', 'dmae_align_loss', 'dmae_loss', 'mae_reconstruction_loss', 'mae_target']


def mae_target(images: Tensor, *, patch_size: int = 16, norm_pix: bool = False) -> Tensor:
    """What a masked autoencoder predicts: the patches ``(N, L, p * p * C)`` of ``(N, C, H, H)``.

    Args:
        norm_pix: subtract each patch's mean and divide by ``sqrt(variance + 1e-6)``, the unbiased variance of its values.
    """
    target = patchify(images, patch_size=patch_size)
    if not norm_pix:
        return target
    return (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()


def mae_reconstruction_loss(pred: Tensor, images: Tensor, mask: Tensor, *, patch_size: int = 16,
                            norm_pix: bool = False) -> Tensor:
    """Mean squared error of the hidden patches, over the whole batch.

    Args:
        pred: ``(N, L, p * p * C)``.
        images: ``(N, C, H, H)``, normalised as the network sees them.
        mask: ``(N, L)``, 1 where hidden.
        patch_size, norm_pix: see :func:`mae_target`.

    Raises:
        ValueError: if the prediction does not have the target's shape.
    """
    dtype = torch.promote_types(pred.dtype, torch.float32)
    target = mae_target(images.to(dtype), patch_size=patch_size, norm_pix=norm_pix)
    if pred.shape != target.shape:
        raise ValueError(f'The prediction has the shape {tuple(pred.shape)} and the patches {tuple(target.shape)}: '
                         'patch_size and img_size of the network and of the task must agree.')
    error = (pred.to(dtype) - target).square().mean(-1)
    mask = mask.to(dtype)
    return (error * mask).sum() / mask.sum()


def dmae_align_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor], *, criterion: str = 'l1',
                    normalize: bool = True) -> Tensor:
    """Distance of the student's (projected) tokens to the teacher's, summed over the aligned pairs of blocks.

    Args:
        student_feats, teacher_feats: one ``(N, 1 + V, Dt)`` for each pair, class token included, of the same visible
            patches in the same order.
        criterion: ``'l1'`` or ``'l2'``: the mean over all elements of the absolute or squared difference.
        normalize: tokens are divided by ``max(norm, 1e-12)`` before.

    Raises:
        ValueError: for another criterion, lists of different length or none, or unequal shapes.
    """
    if criterion not in ('l1', 'l2'):
        raise ValueError(f"criterion is 'l1' or 'l2', not {criterion!r}.")
    if len(student_feats) != len(teacher_feats) or not len(student_feats):
        raise ValueError(f'Blocks are aligned in pairs, got {len(student_feats)} of the student and {len(teacher_feats)} of '
                         'the teacher.')
    distance = F.l1_loss if criterion == 'l1' else F.mse_loss
    losses = []
    for student, teacher in zip(student_feats, teacher_feats):
        if student.shape != teacher.shape:
            raise ValueError(f'Aligned features need one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}.')
        student = student.to(torch.promote_types(student.dtype, torch.float32))
        teacher = teacher.detach().to(student.dtype)
        if normalize:
            student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
        losses.append(distance(student, teacher))
    return torch.stack(losses).sum()


def dmae_loss(pred: Tensor, images: Tensor, mask: Tensor, student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor], *,
              patch_size: int = 16, norm_pix: bool = False, criterion: str = 'l1', normalize: bool = True) -> dict[str, Tensor]:
    """Both terms, ``reconstruction`` and ``align``; the total is their sum.

    Args:
        pred, images, mask, patch_size, norm_pix: see :func:`mae_reconstruction_loss`.
        student_feats, teacher_feats, criterion, normalize: see :func:`dmae_align_loss`.
    """
    return dict(
        reconstruction=mae_reconstruction_loss(pred, images, mask, patch_size=patch_size, norm_pix=norm_pix),
        align=dmae_align_loss(student_feats, teacher_feats, criterion=criterion, normalize=normalize))


@DISTILLERS.register_module()
class DMAE(Distiller):
    """DMAE: align a masked autoencoder to a partly run one (Bai et al., CVPR 2023, arXiv:2208.12256).

    For the task ``MaskedImages``, whose loss is the reconstruction. The teacher, a masked autoencoder or a timm ViT, sees
    the same visible patches and is run up to its last aligned block.

    Args:
        student_blocks, teacher_blocks: numbers of the aligned blocks, from 0, in pairs; by default three quarters of the
            depth of ViT-B and ViT-L.
        criterion: ``'l1'`` or ``'l2'``.
        projector: ``'linear'``, ``'mlp'`` (Linear, GELU, Linear) or None.
        normalize: whether tokens are divided by their norm; by default where there is a projector.

    Raises:
        ValueError: if blocks do not pair, or features do not fit each other.
    """

    def __init__(self, student_blocks: Sequence[int] = (8,), teacher_blocks: Sequence[int] = (17,), criterion: str = 'l1',
                 projector: str | None = 'linear', normalize: bool | None = None):
        super().__init__()
        if len(student_blocks) != len(teacher_blocks) or not student_blocks:
            raise ValueError(f'DMAE aligns blocks in pairs, got student_blocks={tuple(student_blocks)} and '
                             f'teacher_blocks={tuple(teacher_blocks)}.')
        if criterion not in ('l1', 'l2') or projector not in ('linear', 'mlp', None):
            raise ValueError("DMAE takes criterion='l1' or 'l2' and projector='linear', 'mlp' or None, not "
                             f'{criterion!r} and {projector!r}.')
        self.student_taps = tuple(f'block{block}' for block in student_blocks)
        self.teacher_taps = tuple(f'block{block}' for block in teacher_blocks)
        self.criterion, self.projector = criterion, projector
        self.normalize = projector is not None if normalize is None else normalize
        self.needs = Needs(student=tuple(dict.fromkeys(self.student_taps)), teacher=tuple(dict.fromkeys(self.teacher_taps)))

    def build(self, shapes):
        self.projectors = nn.ModuleList()
        for own, theirs in zip(self.student_taps, self.teacher_taps):
            student, teacher = shapes.student[own], shapes.teacher[theirs]
            if student[1] != teacher[1]:
                raise ValueError(f'DMAE: the student keeps {student[1]} tokens and the teacher {teacher[1]}: both need the '
                                 'same patch grid and one class token (no register tokens).')
            if self.projector is None and student[2] != teacher[2]:
                raise ValueError(f'DMAE without projector needs equal widths, got {student[2]} and {teacher[2]}: set '
                                 "projector='linear'.")
            if self.projector == 'mlp':
                self.projectors.append(nn.Sequential(nn.Linear(student[2], teacher[2]), nn.GELU(),
                                                     nn.Linear(teacher[2], teacher[2])))
            else:
                self.projectors.append(nn.Linear(student[2], teacher[2]) if self.projector else nn.Identity())

    def param_groups(self):
        # as in the reference code, biases are not decayed
        params = [p for p in self.parameters() if p.requires_grad]
        groups = [dict(params=[p for p in params if p.dim() > 1]),
                  dict(params=[p for p in params if p.dim() < 2], decay_mult=0.0)]
        return [group for group in groups if group['params']]

    def forward(self, student, teacher, batch, progress):
        projected = [projector(student[name]) for projector, name in zip(self.projectors, self.student_taps)]
        return dict(align=dmae_align_loss(projected, [teacher[name] for name in self.teacher_taps],
                                          criterion=self.criterion, normalize=self.normalize))
