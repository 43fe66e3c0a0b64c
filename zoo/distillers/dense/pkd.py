"""Distillation by the Pearson correlation.

Cao, Zhang, Gao, Cheng, Cheng, Cheng: PKD: General Distillation Framework for Object Detectors via Pearson Correlation
Coefficient. NeurIPS 2022, arXiv:2207.02039.
Reference code: open-mmlab/mmrazor@90c7af1f (mmrazor/models/losses/pkd_loss.py).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels, channel_statistics, paired_levels

__all__ = ['PKD', 'pkd_loss']


def _standardised(x: Tensor, eps: float) -> Tensor:
    mean, std = channel_statistics(x)
    return (x - mean) / (std + eps)


def pkd_loss(student_feats: Tensor | Sequence[Tensor], teacher_feats: Tensor | Sequence[Tensor], *,
             resize_student: bool = True, eps: float = 1e-6) -> Tensor:
    """Half the mean squared error of standardised channels, that is one minus their correlation; summed over levels (eq. 4).

    Each channel is standardised over batch and positions together. Maps of unlike height are resized bilinearly. A level
    with one value a channel gives 0. Half precision is computed in float32.

    Args:
        student_feats, teacher_feats: ``(N, C, H, W)`` each, or lists of them; the teacher's are not detached.
        resize_student: the student's map takes the teacher's size; else the other way round.
        eps: added to the standard deviations.

    Raises:
        ValueError: if lists differ in length, or maps in channels, width alone or batch.
    """
    student_feats, teacher_feats = as_levels(student_feats), as_levels(teacher_feats)
    if len(student_feats) != len(teacher_feats):
        raise ValueError(f'pkd_loss compares lists of one length, got {len(student_feats)} and {len(teacher_feats)} maps.')
    total = 0.0
    for student, teacher in zip(student_feats, teacher_feats):
        dtype = torch.promote_types(student.dtype, torch.float32)
        student, teacher = student.to(dtype), teacher.to(dtype)
        if student.shape[2] != teacher.shape[2]:
            if resize_student:
                student = F.interpolate(student, size=teacher.shape[2:], mode='bilinear', align_corners=False)
            else:
                teacher = F.interpolate(teacher, size=student.shape[2:], mode='bilinear', align_corners=False)
        if student.shape != teacher.shape:
            raise ValueError(f'pkd_loss compares maps of one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}.')
        total = total + F.mse_loss(_standardised(student, eps), _standardised(teacher, eps)) / 2
    return total


@DISTILLERS.register_module()
class PKD(Distiller):
    """PKD: correlate the channels of two pyramids, whatever their magnitudes (Cao et al., NeurIPS 2022, arXiv:2207.02039).

    Levels pair by position, not by stride: detectors of different families go together. The paper's weight is 6.

    Args:
        resize_student: the student's maps take the teacher's size; else the other way round.
        student_tap, teacher_tap: a map or a list of maps each, of the same channels.
        levels: positions in the lists; None: the first four, as in all released configs.
    """

    def __init__(self, resize_student: bool = True, student_tap: str = 'neck', teacher_tap: str = 'neck',
                 levels: Sequence[int] | None = None):
        super().__init__()
        self.resize_student, self.student_tap, self.teacher_tap, self.levels = (
            resize_student, student_tap, teacher_tap, levels)
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        if self.levels is None:
            found = [getattr(shapes, side)[tap] for side, tap in (('student', self.student_tap),
                                                                  ('teacher', self.teacher_tap))]
            self.levels = tuple(range(min(4, *(1 if isinstance(f, torch.Size) else len(f) for f in found))))
        for s, t in paired_levels(shapes, self.student_tap, self.teacher_tap, 'PKD', levels=self.levels, same_size=False):
            if s[1] != t[1]:
                raise ValueError(f'PKD compares channel with channel: {self.student_tap!r} of the student has {s[1]} and '
                                 f'{self.teacher_tap!r} of the teacher {t[1]}; set neck.out_channels alike.')

    def forward(self, student, teacher, batch, progress):
        return dict(pkd=pkd_loss(as_levels(student[self.student_tap], self.levels),
                                 as_levels(teacher[self.teacher_tap], self.levels), resize_student=self.resize_student))
