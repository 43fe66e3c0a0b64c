"""Distillation for document layout analysis: the teacher's head on a student trained by its pyramid alone.

Van Landeghem, Maity, Banerjee, Blaschko, Moens, Llados, Biswas: DistilDoc: Knowledge Distillation for Visually-Rich
Document Applications. ICDAR 2024, arXiv:2406.08226.
Reference code: Jordy-VL/DistilDoc_ICDAR24@459cebf (src/distiller_zoo/SimKD.py). Its other losses are methods of their own:
KD, NKD, FitNets, SimKD, ReviewKD.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels, paired_levels

__all__ = ['DistilDoc', 'simkd_fpn_loss']


def simkd_fpn_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor]) -> Tensor:
    """Mean squared error of each level, added up. Half precision is computed in float32.

    Args:
        student_feats, teacher_feats: lists of ``(N, C, H, W)``, pairwise of one shape; the teacher's are detached.

    Raises:
        ValueError: if the lists differ in length or a pair in shape.
    """
    if len(student_feats) != len(teacher_feats) or not student_feats:
        raise ValueError(f'simkd_fpn_loss compares lists of one length, got {len(student_feats)} and {len(teacher_feats)} '
                         'maps.')
    total = 0.0
    for student, teacher in zip(student_feats, teacher_feats):
        if student.shape != teacher.shape:
            raise ValueError(f'simkd_fpn_loss compares maps of one shape, got {tuple(student.shape)} and '
                             f'{tuple(teacher.shape)}.')
        dtype = torch.promote_types(student.dtype, torch.float32)
        total = total + F.mse_loss(student.to(dtype), teacher.detach().to(dtype))
    return total


@DISTILLERS.register_module()
class DistilDoc(Distiller):
    """DistilDoc: the teacher's neck and head, fed by a student pyramid that imitates it (Van Landeghem et al., ICDAR 2024, \
arXiv:2406.08226).

    Set ``student.inherit=('neck', 'rpn_head', 'roi_head')`` beside it: the student starts with the teacher's parts, which
    stay trainable. In the paper this was WORSE than plain training (no supervised loss takes part); ``distill_only=False``
    keeps the detector's own losses.

    Args:
        distill_only: the task's losses are left out while this one acts.
        begin, end: iterations from and before which it acts (the paper's runs: 1000 and 85000 of 300000); outside the
            detector trains plainly.
        student_tap, teacher_tap: lists of maps of the same shapes.
        levels: positions in the lists; all by default.
    """

    def __init__(self, distill_only: bool = True, begin: int = 0, end: int | None = None, student_tap: str = 'neck',
                 teacher_tap: str = 'neck', levels: Sequence[int] | None = None):
        super().__init__()
        self.distill_only, self.begin, self.end = distill_only, begin, end
        self.student_tap, self.teacher_tap, self.levels = student_tap, teacher_tap, levels
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        pairs = paired_levels(shapes, self.student_tap, self.teacher_tap, 'DistilDoc', levels=self.levels)
        for s, t in pairs:
            if s[1:] != t[1:]:
                raise ValueError(f'DistilDoc has no projector: student and teacher need one pyramid, and a level is '
                                 f'{tuple(s[1:])} and {tuple(t[1:])}; set neck.out_channels alike.')

    def _acts(self, progress) -> bool:
        return self.begin <= progress.iteration and (self.end is None or progress.iteration < self.end)

    def task_weight(self, progress):
        return 0.0 if self.distill_only and self._acts(progress) else 1.0

    def forward(self, student, teacher, batch, progress):
        loss = simkd_fpn_loss(as_levels(student[self.student_tap], self.levels),
                              as_levels(teacher[self.teacher_tap], self.levels))
        return dict(simkd_fpn=loss * float(self._acts(progress)))
