"""Adaptive and cooperative attention masking.

Lan, Tian: ACAM-KD: Adaptive and Cooperative Attention Masking for Knowledge Distillation. ICCV 2025, arXiv:2503.06307.
No reference code: our reading of the paper's equations from public summaries. Where these are silent we chose: the mask sums
divide (one summary prints them as a factor, which would reward zero masks), means over the batch, one module a level, sums
over the levels, and the initialisation.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels, paired_levels, pool_to_smaller

__all__ = ['ACAM', 'ACAMKD', 'acam_masked_loss', 'mask_diversity_loss']


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def acam_masked_loss(student_feat: Tensor, teacher_feat: Tensor, channel_mask: Tensor,
                     spatial_mask: Tensor) -> dict[str, Tensor]:
    """Squared feature errors under each of M masks over the mask's area, averaged over masks and batch.

    Args:
        student_feat, teacher_feat: ``(N, C, H, W)`` of one shape; the teacher's is detached.
        channel_mask: ``(N, M, C)`` positive, with gradient.
        spatial_mask: ``(N, M, H*W)`` likewise.

    Returns:
        ``channel`` and ``spatial``, scalars.

    Raises:
        ValueError: for unequal shapes of the maps.
    """
    if student_feat.shape != teacher_feat.shape:
        raise ValueError(f'acam_masked_loss compares maps of one shape, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    student, teacher, channel_mask, spatial_mask = map(
        _exact, (student_feat, teacher_feat.detach(), channel_mask, spatial_mask))
    squares = (teacher - student).flatten(2).square()
    channels, positions = squares.shape[1:]
    # the mask of a whole channel (or position) leaves the sum over the other axis
    channel = torch.einsum('nmc,nc->nm', channel_mask.square(), squares.sum(2)) / (positions * channel_mask.sum(2))
    spatial = torch.einsum('nml,nl->nm', spatial_mask.square(), squares.sum(1)) / (channels * spatial_mask.sum(2))
    return dict(channel=channel.mean(), spatial=spatial.mean())


def mask_diversity_loss(mask: Tensor, *, reduction: str = 'ratio') -> Tensor:
    """Dice overlap of the M masks of each sample, averaged over the batch; 0 for one mask.

    Args:
        mask: ``(N, M, L)``.
        reduction: ``'ratio'``: the sum of all overlaps over the sum of all squares (M - 1 for equal masks); ``'pairwise'``:
            the mean over ordered pairs of ``2 x y / (x x + y y)`` (1 for equal masks).

    Raises:
        ValueError: for another reduction.
    """
    if reduction not in ('ratio', 'pairwise'):
        raise ValueError(f"reduction is 'ratio' or 'pairwise', not {reduction!r}.")
    mask = _exact(mask)
    overlaps = mask @ mask.transpose(1, 2)
    squares = overlaps.diagonal(dim1=1, dim2=2)
    if reduction == 'ratio':
        return ((overlaps.sum((1, 2)) - squares.sum(1)) / squares.sum(1)).mean()
    pairs = 2 * overlaps / (squares[:, :, None] + squares[:, None])
    count = mask.shape[1] * (mask.shape[1] - 1)
    return ((pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)) / max(count, 1)).mean()


class ACAMKD(nn.Module):
    """The masks of one level and the losses under them: cross-attention, then learnable selection units.

    Args:
        channels: C of both maps.
        num_masks: M.
        query: whose map asks, ``'teacher'`` or ``'student'``; the other gives keys and values.

    Raises:
        ValueError: for another query, or fewer than one mask.
    """

    def __init__(self, channels: int, num_masks: int = 6, query: str = 'teacher'):
        super().__init__()
        if query not in ('teacher', 'student'):
            raise ValueError(f"ACAMKD: query is 'teacher' or 'student', not {query!r}.")
        if num_masks < 1 or channels < 2:
            raise ValueError(f'ACAMKD needs at least 1 mask and 2 channels, got {num_masks} and {channels}.')
        self.query = query
        self.w_q = nn.Linear(channels, channels // 2, bias=False)
        self.w_k = nn.Linear(channels, channels // 2, bias=False)
        self.w_v = nn.Linear(channels, channels, bias=False)
        self.channel_units = nn.Parameter(0.01 * torch.randn(num_masks, 1))
        self.spatial_units = nn.Parameter(0.01 * torch.randn(num_masks, channels))

    def masks(self, student_feat: Tensor, teacher_feat: Tensor) -> tuple[Tensor, Tensor]:
        """Channel masks ``(N, M, C)`` and spatial masks ``(N, M, H*W)`` of two maps ``(N, C, H, W)``."""
        teacher, student = (x.flatten(2).transpose(1, 2) for x in (teacher_feat.detach(), student_feat))
        asking, asked = (teacher, student) if self.query == 'teacher' else (student, teacher)
        query, key, value = self.w_q(asking), self.w_k(asked), self.w_v(asked)
        # zeros behind the queries and keys change no product and let the fused kernels, which want one width, apply:
        # without them the attention of a large map would be held in memory
        width = query.shape[-1]
        query, key = (F.pad(x, (0, value.shape[-1] - width)) for x in (query, key))
        fused = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=width**-0.5)[:, 0]
        channel = torch.sigmoid(self.channel_units * fused.mean(1)[:, None])
        spatial = torch.sigmoid(self.spatial_units @ fused.transpose(1, 2))
        return channel, spatial

    def forward(self, student_feat: Tensor, teacher_feat: Tensor) -> dict[str, Tensor]:
        """``channel``, ``spatial`` and ``diversity``, unweighted, of two maps ``(N, C, H, W)`` of one shape."""
        channel, spatial = self.masks(student_feat, teacher_feat)
        return dict(acam_masked_loss(student_feat, teacher_feat, channel, spatial),
                    diversity=mask_diversity_loss(channel) + mask_diversity_loss(spatial))


@DISTILLERS.register_module()
class ACAM(Distiller):
    """ACAM: learned masks, drawn from both networks, choose where to imitate (Lan & Tian, ICCV 2025, arXiv:2503.06307).

    Detection reads ``neck`` with six masks, one :class:`ACAMKD` a level; segmentation ``logits`` with as many masks as
    classes. Where the channels differ, a 1x1 convolution brings the student's to the teacher's; single maps of unlike size
    are averaged to the smaller.

    Args:
        alpha: weight of the two feature terms.
        lambda_: weight of the masks' diversity.
        num_masks: M; None: the number of classes.
        query: whose map asks, ``'teacher'`` or ``'student'``.
        student_tap, teacher_tap: a map or a list of maps each.
        levels: positions in the lists; all by default.
    """

    def __init__(self, alpha: float = 1.0, lambda_: float = 1.0, num_masks: int | None = 6, query: str = 'teacher',
                 student_tap: str = 'neck', teacher_tap: str = 'neck', levels: Sequence[int] | None = None):
        super().__init__()
        ACAMKD(2, 1 if num_masks is None else num_masks, query)  # bad options are refused here, not at build
        self.alpha, self.lambda_, self.num_masks, self.query = alpha, lambda_, num_masks, query
        self.student_tap, self.teacher_tap, self.levels = student_tap, teacher_tap, levels
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        pairs = paired_levels(shapes, self.student_tap, self.teacher_tap, 'ACAM', levels=self.levels)
        count = self.num_masks or shapes.num_classes
        if not count:
            raise ValueError('ACAM: num_masks=None stands for the number of classes, which this task has not: set num_masks.')
        self.align = nn.ModuleList(nn.Identity() if s[1] == t[1] else nn.Conv2d(s[1], t[1], 1) for s, t in pairs)
        self.losses = nn.ModuleList(ACAMKD(t[1], count, self.query) for _, t in pairs)

    def forward(self, student, teacher, batch, progress):
        totals = dict(channel=0.0, spatial=0.0, diversity=0.0)
        maps = zip(self.align, self.losses, as_levels(student[self.student_tap], self.levels),
                   as_levels(teacher[self.teacher_tap], self.levels))
        for align, loss, s, t in maps:
            for name, value in loss(*pool_to_smaller(align(s), t)).items():
                totals[name] = totals[name] + value
        return {name: (self.lambda_ if name == 'diversity' else self.alpha) * value for name, value in totals.items()}
