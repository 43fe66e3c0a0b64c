"""Channel-wise distillation.

Shu, Liu, Gao, Yan, Shen: Channel-wise Knowledge Distillation for Dense Prediction. ICCV 2021, arXiv:2011.13256.
Reference code: irfanICMLL/TorchDistiller@78bac7c (SemSeg-distill/utils/criterion.py), cross-read with
open-mmlab/mmrazor@90c7af1f (mmrazor/models/losses/cwd.py).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels, paired_levels, pool_to_smaller

__all__ = ['CWD', 'cwd_loss']


def cwd_loss(student_feat: Tensor, teacher_feat: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Divergence of every channel's softmax over positions: ``T^2 / (N C) * sum KL(teacher || student)`` (eq. 3, 4).

    A log-softmax takes the place of the authors' logarithm of a softmax, which equals it and stays finite. Half precision
    is computed in float32.

    Args:
        student_feat, teacher_feat: ``(N, C, H, W)`` of one shape; the teacher's is detached.
        temperature: T, applied to both.

    Raises:
        ValueError: for unequal shapes.
    """
    if student_feat.shape != teacher_feat.shape or student_feat.dim() != 4:
        raise ValueError(f'cwd_loss compares maps (N, C, H, W) of one shape, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    dtype = torch.promote_types(student_feat.dtype, torch.float32)
    student, teacher = (F.log_softmax(x.to(dtype).flatten(2) / temperature, dim=2)
                        for x in (student_feat, teacher_feat.detach()))
    divergence = F.kl_div(student, teacher, reduction='sum', log_target=True)
    return divergence * temperature**2 / (student.shape[0] * student.shape[1])


@DISTILLERS.register_module()
class CWD(Distiller):
    """CWD: where each channel is salient, not how strongly (Shu et al., ICCV 2021, arXiv:2011.13256).

    Segmentation reads ``logits`` (weight 3 with T=4); detection ``neck`` or ``head.cls_scores`` (weight 10 with T=1, the
    levels summed). Where the channels differ, a 1x1 convolution without bias brings the student's to the teacher's; single
    maps of unlike size are averaged to the smaller.

    Args:
        temperature: of both softmaxes.
        student_tap, teacher_tap: a map or a list of maps each.
        levels: positions in the lists; all by default.
    """

    def __init__(self, temperature: float = 4.0, student_tap: str = 'logits', teacher_tap: str = 'logits',
                 levels: Sequence[int] | None = None):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'CWD: temperature is positive, got {temperature}.')
        self.temperature, self.student_tap, self.teacher_tap, self.levels = temperature, student_tap, teacher_tap, levels
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        pairs = paired_levels(shapes, self.student_tap, self.teacher_tap, 'CWD', levels=self.levels)
        self.align = nn.ModuleList(nn.Identity() if s[1] == t[1] else nn.Conv2d(s[1], t[1], 1, bias=False)
                                   for s, t in pairs)

    def forward(self, student, teacher, batch, progress):
        maps = zip(self.align, as_levels(student[self.student_tap], self.levels),
                   as_levels(teacher[self.teacher_tap], self.levels))
        return dict(cwd=sum(cwd_loss(*pool_to_smaller(align(s), t), temperature=self.temperature) for align, s, t in maps))
