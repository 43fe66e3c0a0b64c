"""Variational information distillation.

Ahn, Hu, Damianou, Lawrence, Dai: Variational Information Distillation for Knowledge Transfer. CVPR 2019,
arXiv:1904.05835.
Equal to HobbitLong/RepDistiller@b84f547, which trains the variance, as the paper does; megvii-research/mdistiller
leaves it at its start.
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from .at import check_maps, layer_names, listed, to_smaller_map

__all__ = ['VID', 'VIDLoss']


class VIDLoss(nn.Module):
    """Negative log-likelihood of a teacher map under a Gaussian predicted from a student map.

    The mean comes from three 1x1 convolutions; the variance is one trained number a channel,
    ``softplus(log_scale) + eps``.

    Args:
        student_channels, mid_channels, teacher_channels: widths of the mean network.
        init_pred_var: the variance at the start.
        eps: the least variance.

    Raises:
        ValueError: if ``init_pred_var`` is not above ``eps``.
    """

    def __init__(self, student_channels: int, mid_channels: int, teacher_channels: int, init_pred_var: float = 5.0,
                 eps: float = 1e-5):
        super().__init__()
        if not init_pred_var > eps >= 0:
            raise ValueError(f'VID needs init_pred_var > eps >= 0, and got {init_pred_var} and {eps}.')
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, mid_channels, 1, bias=False), nn.ReLU(),
            nn.Conv2d(mid_channels, mid_channels, 1, bias=False), nn.ReLU(),
            nn.Conv2d(mid_channels, teacher_channels, 1, bias=False))
        variance = init_pred_var - eps
        # log(exp(v) - 1), written so that a large variance does not overflow
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), variance + math.log(-math.expm1(-variance))))
        self.eps = eps

    def forward(self, student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
        """Mean over all elements of ``((mean - t)^2 / var + log var) / 2``; it can be negative.

        Args:
            student_feat, teacher_feat: ``(N, Cs, H, W)``, ``(N, Ct, H, W)``; the larger map is average-pooled to the
                smaller one's size.
        """
        student_feat, teacher_feat = to_smaller_map(student_feat, teacher_feat)
        mean = self.regressor(student_feat)
        mean, log_scale, teacher_feat = (x.to(torch.promote_types(x.dtype, torch.float32))
                                         for x in (mean, self.log_scale, teacher_feat))
        variance = (F.softplus(log_scale) + self.eps).view(1, -1, 1, 1)
        return ((mean - teacher_feat).square() / variance + variance.log()).mean() / 2


@DISTILLERS.register_module()
class VID(Distiller):
    """VID: learn a Gaussian of the teacher's maps given the student's (Ahn et al., CVPR 2019, arXiv:1904.05835).

    Args:
        init_pred_var, eps: of the variances, see :class:`VIDLoss`.
        mid_channels: width of the mean networks; None takes each teacher map's own.
        student_layers, teacher_layers: taps of the maps, in pairs; ``stages`` are all stages without the stem.
    """

    def __init__(self, init_pred_var: float = 5.0, eps: float = 1e-5, mid_channels: int | None = None,
                 student_layers: str | Sequence[str] = 'stages', teacher_layers: str | Sequence[str] = 'stages'):
        super().__init__()
        if not init_pred_var > eps >= 0:
            raise ValueError(f'VID needs init_pred_var > eps >= 0, and got {init_pred_var} and {eps}.')
        self.init_pred_var, self.eps, self.mid_channels = init_pred_var, eps, mid_channels
        self.needs = Needs(student=layer_names(student_layers), teacher=layer_names(teacher_layers))

    def build(self, shapes):
        student, teacher = listed(shapes.student, self.needs.student), listed(shapes.teacher, self.needs.teacher)
        check_maps(student, teacher, 'VID')
        self.losses = nn.ModuleList(
            VIDLoss(s[1], self.mid_channels or t[1], t[1], self.init_pred_var, self.eps)
            for s, t in zip(student, teacher))

    def forward(self, student, teacher, batch, progress):
        pairs = zip(listed(student, self.needs.student), listed(teacher, self.needs.teacher))
        return {'vid': sum(loss(s, t) for loss, (s, t) in zip(self.losses, pairs))}
