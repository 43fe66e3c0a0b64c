"""Focal and global distillation.

Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan: Focal and Global Knowledge Distillation for Detectors. CVPR 2022,
arXiv:2111.11837.
Reference code: yzd-v/FGD@c03a6cf (mmdet/distillation/losses/fgd.py).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..dense_heads import gt_boxes
from ..levels import as_levels, paired_levels, pool_to_smaller

__all__ = ['FGD', 'FGDLoss', 'foreground_mask']


def foreground_mask(boxes: Tensor, img_shape: Tensor, size: tuple[int, int]) -> Tensor:
    """``(H, W)``: one over a box's area in cells where it lies, both ends included; the largest of overlapping boxes.

    Args:
        boxes: ``(n, 4)`` xyxy in pixels, none negative; n may be 0.
        img_shape: ``(2,)`` height and width in pixels, without the batch's padding.
        size: H and W of the map, with the padding, so that boxes of a padded image are stretched a little, as in the
            released code.
    """
    height, width = size
    if not len(boxes):
        return boxes.new_zeros(height, width)
    scale = img_shape.to(boxes.device)
    x = boxes[:, 0::2] / scale[1] * width
    y = boxes[:, 1::2] / scale[0] * height
    left, right, top, bottom = x[:, 0].floor(), x[:, 1].ceil(), y[:, 0].floor(), y[:, 1].ceil()
    weight = 1 / ((bottom + 1 - top) * (right + 1 - left))  # of the whole box, also where it ends outside the map
    rows, columns = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    in_rows = (rows >= top[:, None]) & (rows <= bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns <= right[:, None])
    return (weight[:, None, None] * (in_rows[:, :, None] & in_columns[:, None])).amax(0)


def _attention(x: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Spatial ``(N, 1, H, W)`` and channel ``(N, C, 1, 1)`` attention, each of mean 1 (eq. 3, 4)."""
    size = x.abs()
    spatial = F.softmax(size.mean(1).flatten(1) / temperature, dim=1) * x[0, 0].numel()
    channel = F.softmax(size.mean((2, 3)) / temperature, dim=1) * x.shape[1]
    return spatial.reshape(len(x), 1, *x.shape[2:]), channel[:, :, None, None]


class FGDLoss(nn.Module):
    """The four terms of one level, each with its weight.

    Args:
        student_channels, teacher_channels: widths; where they differ, a 1x1 convolution ``align`` comes first.
        temperature: of the attentions.
        alpha, beta, gamma, lambda_: weights of foreground, background, attention and relation.
    """

    def __init__(self, student_channels: int, teacher_channels: int, temperature: float = 0.5, alpha: float = 1e-3,
                 beta: float = 5e-4, gamma: float = 1e-3, lambda_: float = 5e-6):
        super().__init__()
        self.temperature, self.alpha, self.beta, self.gamma, self.lambda_ = temperature, alpha, beta, gamma, lambda_
        channels = teacher_channels
        self.align = nn.Conv2d(student_channels, channels, 1) if student_channels != channels else None
        self.context_mask_s, self.context_mask_t = nn.Conv2d(channels, 1, 1), nn.Conv2d(channels, 1, 1)
        self.channel_add_s, self.channel_add_t = self._transform(channels), self._transform(channels)
        for mask, add in ((self.context_mask_s, self.channel_add_s), (self.context_mask_t, self.channel_add_t)):
            nn.init.kaiming_normal_(mask.weight, mode='fan_in')
            nn.init.zeros_(mask.bias)
            nn.init.zeros_(add[3].weight)
            nn.init.zeros_(add[3].bias)

    @staticmethod
    def _transform(channels: int) -> nn.Sequential:
        hidden = max(channels // 2, 1)
        return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(),
                             nn.Conv2d(hidden, channels, 1))

    def _with_context(self, x: Tensor, mask: nn.Module, add: nn.Module) -> Tensor:
        weights = F.softmax(mask(x).flatten(2), dim=2)
        context = x.flatten(2) @ weights.transpose(1, 2)
        return x + add(context[..., None])

    def forward(self, student_feat: Tensor, teacher_feat: Tensor, gt_bboxes: Sequence[Tensor],
                img_shapes: Tensor) -> dict[str, Tensor]:
        """The terms of eq. 8 to 11, averaged over the batch and summed over the map.

        Args:
            student_feat: ``(N, C_s, H, W)``.
            teacher_feat: ``(N, C_t, H, W)``, detached.
            gt_bboxes: N tensors ``(n_i, 4)`` xyxy in pixels of the input.
            img_shapes: ``(N, 2)`` integer height and width in pixels, without the batch's padding.

        Returns:
            ``fg``, ``bg``, ``attention`` and ``relation``, scalars.

        Raises:
            ValueError: if the maps differ in size.
        """
        dtype = torch.promote_types(student_feat.dtype, torch.float32)
        student, teacher = student_feat.to(dtype), teacher_feat.detach().to(dtype)
        student = student if self.align is None else self.align(student)
        if student.shape != teacher.shape:
            raise ValueError(f'FGDLoss compares maps of one size, got {tuple(student_feat.shape)} and '
                             f'{tuple(teacher_feat.shape)}.')
        count, size = len(student), tuple(student.shape[2:])
        spatial_s, channel_s = _attention(student, self.temperature)
        spatial_t, channel_t = _attention(teacher, self.temperature)
        foreground = torch.stack([foreground_mask(boxes.to(student), shape, size)
                                  for boxes, shape in zip(gt_bboxes, img_shapes)])[:, None]
        background = (foreground == 0).to(dtype)
        background = background / background.sum((2, 3), keepdim=True).clamp(min=1)
        errors = (student - teacher).square() * spatial_t * channel_t
        attention = (channel_s - channel_t).abs().sum() + (spatial_s - spatial_t).abs().sum()
        relation = F.mse_loss(self._with_context(student, self.context_mask_s, self.channel_add_s),
                              self._with_context(teacher, self.context_mask_t, self.channel_add_t), reduction='sum')
        return dict(fg=self.alpha * (foreground * errors).sum() / count, bg=self.beta * (background * errors).sum() / count,
                    attention=self.gamma * attention / count, relation=self.lambda_ * relation / count)


@DISTILLERS.register_module()
class FGD(Distiller):
    """FGD: objects and background apart, and their relations (Yang et al., CVPR 2022, arXiv:2111.11837).

    The defaults are those of RetinaNet and GFL. Two-stage detectors: ``alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7,
    levels=(0, 1, 2, 3)``; FCOS: ``temperature=0.8, alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_=8e-6``. Gradients are
    clipped to a norm of 35 in the released configs.

    Args:
        temperature, alpha, beta, gamma, lambda_: as in :class:`FGDLoss`, one a level.
        student_tap, teacher_tap: a map or a list of maps each.
        levels: positions in the lists; all by default.
    """

    def __init__(self, temperature: float = 0.5, alpha: float = 1e-3, beta: float = 5e-4, gamma: float = 5e-4,
                 lambda_: float = 5e-6, student_tap: str = 'neck', teacher_tap: str = 'neck',
                 levels: Sequence[int] | None = None):
        super().__init__()
        self.options = dict(temperature=temperature, alpha=alpha, beta=beta, gamma=gamma, lambda_=lambda_)
        self.student_tap, self.teacher_tap, self.levels = student_tap, teacher_tap, levels
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        pairs = paired_levels(shapes, self.student_tap, self.teacher_tap, 'FGD', levels=self.levels)
        self.losses = nn.ModuleList(FGDLoss(s[1], t[1], **self.options) for s, t in pairs)

    def forward(self, student, teacher, batch, progress):
        samples = batch.extra.get('data_samples')
        if samples is None or not all(hasattr(sample, 'gt_instances') for sample in samples):
            raise ValueError('FGD needs labelled boxes (batch.extra["data_samples"] of a detection task).')
        boxes = gt_boxes(samples)
        shapes = torch.tensor([sample.metainfo['img_shape'][:2] for sample in samples])
        totals = dict(fg=0.0, bg=0.0, attention=0.0, relation=0.0)
        maps = zip(self.losses, as_levels(student[self.student_tap], self.levels),
                   as_levels(teacher[self.teacher_tap], self.levels))
        for loss, s, t in maps:
            for name, value in loss(*pool_to_smaller(s, t), boxes, shapes).items():
                totals[name] = totals[name] + value
        return totals
