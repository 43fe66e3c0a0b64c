"""MSDCRD.

Wang, Wang: Contrastive Representation Distillation via Multi-Scale Feature Decoupling. arXiv:2502.05835, 2025.
No reference code: our reading of the paper's abstract and a summary. Free choices: the projector outside the losses,
one direction of contrast (student anchors, teacher candidates), scales that are not mixed, the windows' sizes.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.connectors import connect
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['MSDCRD', 'batch_infonce_loss', 'msdcrd_loss', 'multi_scale_pool']


def multi_scale_pool(feat: Tensor, *, scales: Sequence[int], stride: int = 1) -> Tensor:
    """Averages of all windows of several sizes.

    Args:
        feat: ``(N, C, H, W)``.
        scales: sides k of the square windows, in the order of the output.
        stride: of the windows.

    Returns:
        ``(N, R, C)``, R the number of windows of all scales; row-major within a scale.

    Raises:
        ValueError: if a window is larger than the map.
    """
    if not scales or min(scales) < 1 or max(scales) > min(feat.shape[2:]):
        raise ValueError(f'The windows have sides from 1 to {min(feat.shape[2:])} on a {tuple(feat.shape[2:])} map, '
                         f'got scales={list(scales)}.')
    return torch.cat([F.avg_pool2d(feat, k, stride).flatten(2).transpose(1, 2) for k in scales], dim=1)


def batch_infonce_loss(student_feat: Tensor, teacher_feat: Tensor, *, temperature: float = 0.1, axis: str = 'sample',
                       mask: Tensor | None = None) -> Tensor:
    """Cross-entropy of finding one's own row of the teacher among all of its rows, by cosine over temperature.

    Args:
        student_feat, teacher_feat: ``(M, D)``; the caller detaches the teacher.
        temperature: divides the cosines.
        axis: ``'sample'`` contrasts the M rows, ``'feature'`` the D columns.
        mask: bool, ``(M,)`` (or ``(D,)`` for ``'feature'``): the anchors that count; all by default. Candidates stay.

    Raises:
        ValueError: for another axis or unequal shapes.
    """
    if axis not in ('sample', 'feature'):
        raise ValueError(f"axis is 'sample' or 'feature', not {axis!r}.")
    if student_feat.shape != teacher_feat.shape or student_feat.dim() != 2:
        raise ValueError(f'batch_infonce_loss needs two tensors (M, D) of one shape, got {tuple(student_feat.shape)} '
                         f'and {tuple(teacher_feat.shape)}.')
    if student_feat.dtype in (torch.float16, torch.bfloat16):
        student_feat, teacher_feat = student_feat.float(), teacher_feat.float()
    if axis == 'feature':
        student_feat, teacher_feat = student_feat.t(), teacher_feat.t()
    student, teacher = F.normalize(student_feat, dim=1), F.normalize(teacher_feat, dim=1)
    logits = student @ teacher.t() / temperature
    losses = F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), reduction='none')
    if mask is None:
        return losses.mean()
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def msdcrd_loss(student_feat: Tensor, teacher_feat: Tensor, *, scales: Sequence[int], stride: int = 1,
                temperature: float = 0.1, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Both contrasts of the local features, averaged over the scales.

    Args:
        student_feat, teacher_feat: ``(N, C, H, W)`` of one shape; the caller detaches the teacher.
        scales, stride: of :func:`multi_scale_pool`.
        temperature: divides the cosines.
        mask: bool ``(N, R)`` in the layout of :func:`multi_scale_pool`: the local features that are anchors of the
            sample term (a place for the paper's choice of samples, which we could not read).

    Returns:
        ``sample`` and ``feature``, scalars.

    Raises:
        ValueError: for unequal shapes, or windows larger than the map.
    """
    if student_feat.shape != teacher_feat.shape:
        raise ValueError(f'msdcrd_loss compares maps of one shape, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    sample, feature, begin = 0.0, 0.0, 0
    for scale in scales:
        student, teacher = (multi_scale_pool(x, scales=[scale], stride=stride) for x in (student_feat, teacher_feat))
        rows = None if mask is None else mask[:, begin:begin + student.shape[1]].flatten()
        begin += student.shape[1]
        student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
        sample = sample + batch_infonce_loss(student, teacher, temperature=temperature, mask=rows) / len(scales)
        feature = feature + batch_infonce_loss(student, teacher, temperature=temperature, axis='feature') / len(scales)
    return dict(sample=sample, feature=feature)


@DISTILLERS.register_module()
class MSDCRD(Distiller):
    """MSDCRD: contrast of local features at several scales within a batch (Wang & Wang, 2025, arXiv:2502.05835).

    The student's map passes a 1x1 convolution and a BatchNorm to the teacher's channels; both maps are pooled to the
    smaller size; tokens become maps. The paper's weights and scales could not be read: the defaults are ours.

    Args:
        scales: sides of the windows; None: the map's smaller side, its half and its quarter.
        stride: of the windows. The sample term holds ``(N R_k)^2`` cosines: raise it for large maps.
        temperature: divides the cosines.
        sample_weight, feature_weight: of the two terms.
        student_feat, teacher_feat: taps of one map ``(N, C, H, W)``, or of tokens ``(N, L, D)``, each.
    """

    def __init__(self, scales: Sequence[int] | None = None, stride: int = 1, temperature: float = 0.1,
                 sample_weight: float = 1.0, feature_weight: float = 1.0, student_feat: str = 'final_map',
                 teacher_feat: str = 'final_map'):
        super().__init__()
        self.scales, self.stride, self.temperature = scales, stride, temperature
        self.sample_weight, self.feature_weight = sample_weight, feature_weight
        self.student_feat, self.teacher_feat = student_feat, teacher_feat
        self.needs = Needs(student=(student_feat,), teacher=(teacher_feat,))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_feat], shapes.teacher[self.teacher_feat]
        for side, name, shape in (('student', self.student_feat, student), ('teacher', self.teacher_feat, teacher)):
            if isinstance(shape, list) or len(shape) not in (3, 4):
                raise ValueError(f'MSDCRD reads one map (N, C, H, W) or tokens (N, L, D); the {side}\'s tap {name!r} '
                                 f'is {shape}: name another, such as stages.-1.')
        # connectors of a tap to itself: they only turn tokens into maps
        self.student_layout, self.teacher_layout = connect(student, student), connect(teacher, teacher)
        student, teacher = (_map_shape(x.split(torch.zeros(shape))[1]) for x, shape in (
            (self.student_layout, student), (self.teacher_layout, teacher)))
        self.size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
        side = min(self.size)
        if self.scales is None:
            self.scales = sorted({max(side // part, 1) for part in (1, 2, 4)}, reverse=True)
        if min(self.scales) < 1 or max(self.scales) > side:
            raise ValueError(f'MSDCRD: the common map is {self.size}, so scales lie between 1 and {side}, not '
                             f'{list(self.scales)}.')
        self.projector = nn.Sequential(nn.Conv2d(student[0], teacher[0], 1, bias=False), nn.BatchNorm2d(teacher[0]))

    def forward(self, student, teacher, batch, progress):
        x = F.adaptive_avg_pool2d(self.student_layout.split(student[self.student_feat])[1], self.size)
        y = F.adaptive_avg_pool2d(self.teacher_layout.split(teacher[self.teacher_feat])[1], self.size)
        if self.training and len(x) * self.size[0] * self.size[1] == 1:  # BatchNorm has no variance of one value
            return dict(sample=x.sum() * 0.0, feature=x.sum() * 0.0)
        terms = msdcrd_loss(self.projector(x), y.detach(), scales=self.scales, stride=self.stride,
                            temperature=self.temperature)
        return dict(sample=self.sample_weight * terms['sample'], feature=self.feature_weight * terms['feature'])


def _map_shape(feat: Tensor) -> tuple[int, int, int]:
    return tuple(feat.shape[1:])
