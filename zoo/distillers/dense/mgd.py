"""Masked generative distillation for detection and segmentation.

Yang, Li, Shao, Shi, Yuan, Yuan: Masked Generative Distillation. ECCV 2022, arXiv:2205.01529.
Reference code: yzd-v/MGD@2c9da0b (det and seg: mgd.py masks positions; cls: masks channels, with the cut at the other end
of the noise). The classification recipe is :mod:`zoo.distillers.feature.mgd_cls`.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels, paired_levels, pool_to_smaller

__all__ = ['MGD', 'MGDLoss']


class MGDLoss(nn.Module):
    """A generator that restores the teacher's map from the student's with positions or channels left out (section 3.1).

    Args:
        student_channels, teacher_channels: widths; where they differ, a 1x1 convolution ``align`` comes first.
        mask_ratio: the share that is set to zero.
        mask: ``'spatial'`` or ``'channel'``.

    Raises:
        ValueError: for another mask, or a ratio outside 0 to 1.
    """

    def __init__(self, student_channels: int, teacher_channels: int, mask_ratio: float = 0.65, mask: str = 'spatial'):
        super().__init__()
        if mask not in ('spatial', 'channel'):
            raise ValueError(f"MGD: mask is 'spatial' or 'channel', not {mask!r}.")
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f'MGD: mask_ratio is a share between 0 and 1, not {mask_ratio}.')
        self.mask_ratio, self.mask = mask_ratio, mask
        self.align = nn.Conv2d(student_channels, teacher_channels, 1) if student_channels != teacher_channels else None
        self.generation = nn.Sequential(nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1), nn.ReLU(),
                                        nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1))

    def forward(self, student_feat: Tensor, teacher_feat: Tensor, noise: Tensor | None = None) -> Tensor:
        """Squared error summed over channels and all positions, masked or not, averaged over the batch (eq. 2).

        Args:
            student_feat: ``(N, C_s, H, W)``.
            teacher_feat: ``(N, C_t, H, W)``, detached.
            noise: uniform in [0, 1): ``(N, 1, H, W)`` for ``'spatial'``, ``(N, C_t, 1, 1)`` for ``'channel'``; None
                draws it here.
        """
        x = student_feat if self.align is None else self.align(student_feat)
        if noise is None:
            shape = (len(x), 1, *x.shape[2:]) if self.mask == 'spatial' else (*x.shape[:2], 1, 1)
            noise = torch.rand(shape, device=x.device)
        dropped = noise > 1 - self.mask_ratio if self.mask == 'spatial' else noise < self.mask_ratio
        restored = self.generation(x * (~dropped).to(x.dtype))
        dtype = torch.promote_types(restored.dtype, torch.float32)
        return F.mse_loss(restored.to(dtype), teacher_feat.detach().to(dtype), reduction='sum') / len(x)


@DISTILLERS.register_module()
class MGD(Distiller):
    """MGD: restore the teacher's maps from masked student maps (Yang et al., ECCV 2022, arXiv:2205.01529).

    Detection reads ``neck``, one generator a level (RetinaNet and RepPoints all five, two-stage detectors ``levels=(0, 1, 2,
    3)``); segmentation ``backbone.-1``. Single maps of unlike size are averaged to the smaller.

    Args:
        alpha: weight of the summed squared error; 2e-5, or 5e-7 for two-stage detectors.
        mask_ratio: the share of positions (or channels) that is set to zero: 0.65 one-stage, 0.45 two-stage, 0.75
            segmentation.
        mask: ``'spatial'`` or ``'channel'``.
        student_tap, teacher_tap: a map or a list of maps each.
        levels: positions in the lists; all by default.
    """

    def __init__(self, alpha: float = 2e-5, mask_ratio: float = 0.65, mask: str = 'spatial', student_tap: str = 'neck',
                 teacher_tap: str = 'neck', levels: Sequence[int] | None = None):
        super().__init__()
        MGDLoss(1, 1, mask_ratio, mask)  # bad options are refused here, not at build
        self.alpha, self.mask_ratio, self.mask = alpha, mask_ratio, mask
        self.student_tap, self.teacher_tap, self.levels = student_tap, teacher_tap, levels
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        pairs = paired_levels(shapes, self.student_tap, self.teacher_tap, 'MGD', levels=self.levels)
        self.losses = nn.ModuleList(MGDLoss(s[1], t[1], self.mask_ratio, self.mask) for s, t in pairs)

    def forward(self, student, teacher, batch, progress):
        maps = zip(self.losses, as_levels(student[self.student_tap], self.levels),
                   as_levels(teacher[self.teacher_tap], self.levels))
        return dict(mgd=self.alpha * sum(loss(*pool_to_smaller(s, t)) for loss, s, t in maps))
