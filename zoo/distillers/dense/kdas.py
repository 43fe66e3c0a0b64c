"""KDAS: attention supervision and symmetrical guiding for binary segmentation.

Trinh, Nguyen, Vo Thi: KDAS: Knowledge Distillation via Attention Supervision Framework for Polyp Segmentation. ICME 2024,
arXiv:2312.08555.
Reference code: huyquoctrinh/KDAS@647d51b (train_kd_paper.py). The mode ``'repaired'`` is ours.
"""
import logging
import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['KDAS', 'attention_supervision_loss', 'kdas_loss', 'structure_loss', 'symmetric_guiding_loss']

MODES = ('official', 'repaired')


def _single(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def structure_loss(student_logits: Tensor, labels: Tensor, *, weighted_bce: bool = False) -> Tensor:
    """Binary cross-entropy plus one minus the IoU, in which pixels near a boundary weigh up to six times.

    The released code (as PraNet's, by a wrong keyword) has the plain mean of the cross-entropy over the whole batch, not
    the weighted one. Half precision is computed in float32.

    Args:
        student_logits: ``(N, C, H, W)``.
        labels: ``(N, C, H, W)`` masks in 0..1, may be soft.
        weighted_bce: weight the cross-entropy as meant.

    Raises:
        ValueError: if shapes differ.
    """
    if student_logits.shape != labels.shape:
        raise ValueError(f'structure_loss needs logits and masks of one shape, got {tuple(student_logits.shape)} and '
                         f'{tuple(labels.shape)}.')
    logits = _single(student_logits)
    mask = labels.to(logits.dtype)
    weight = 1 + 5 * (F.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
    if weighted_bce:
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduction='none')
        bce = (weight * bce).sum((2, 3)) / weight.sum((2, 3))
    else:
        bce = F.binary_cross_entropy_with_logits(logits, mask)
    probs = logits.sigmoid()
    inter = (probs * mask * weight).sum((2, 3))
    union = ((probs + mask) * weight).sum((2, 3))
    return (bce + 1 - (inter + 1) / (union - inter + 1)).mean()


def symmetric_guiding_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean squared distance of the symmetrised maps ``P + P^T``, the student's pooled to the teacher's size.

    Half precision is computed in float32; the teacher carries no gradient.

    Args:
        student_logits: ``(N, C, S, S)``.
        teacher_logits: ``(N, C, T, T)``.

    Raises:
        ValueError: for maps that are not square.
    """
    for x in (student_logits, teacher_logits):
        if x.shape[2] != x.shape[3]:
            raise ValueError(f'symmetric_guiding_loss adds a map and its transpose, which needs square maps, not '
                             f'{x.shape[2]}x{x.shape[3]}: resize them first.')
    student, teacher = _single(student_logits), _single(teacher_logits.detach())
    student = F.adaptive_avg_pool2d(student + student.mT, teacher.shape[2:])
    return F.mse_loss(student, teacher + teacher.mT)


def _self_attention(x: Tensor) -> Tensor:
    """``softmax(X X^T / sqrt(W)) X``, the rows of each map as tokens."""
    return (x @ x.mT / math.sqrt(x.shape[-1])).softmax(-1) @ x


def attention_supervision_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0,
                               mode: str = 'official') -> Tensor:
    """The student's map under the teacher's self-attended map.

    ``'official'``, as released: its target is ``a``, the teacher's rows after self-attention over the temperature, and
    in the place of log-probabilities stands the student's softmax over its one channel, over the temperature, a constant.
    So its gradient is zero: **it teaches nothing**. Elements of ``a`` that are not positive have ``a log a = 0``.
    ``'repaired'``, ours: both maps attended, over the temperature; KL of their softmax over the positions, the mean over
    samples, times ``temperature^2``. Half precision is computed in float32; the teacher carries no gradient.

    Args:
        student_logits, teacher_logits: ``(N, 1, H, W)``; of one shape in the mode ``'repaired'``.

    Raises:
        ValueError: for another mode, more than one channel, or unequal shapes in the mode ``'repaired'``.
    """
    if mode not in MODES:
        raise ValueError(f"mode is 'official' or 'repaired', not {mode!r}.")
    if student_logits.shape[1] != 1 or teacher_logits.shape[1] != 1:
        raise ValueError(f'attention_supervision_loss needs maps of one channel, got {tuple(student_logits.shape)} and '
                         f'{tuple(teacher_logits.shape)}.')
    student, teacher = _single(student_logits), _single(teacher_logits.detach())
    target = _self_attention(teacher) / temperature
    if mode == 'official':
        entropy = torch.where(target > 0, torch.xlogy(target, target.clamp(min=0)), 0)
        return (entropy - target / temperature).mean() + 0 * student.sum()
    if student.shape != teacher.shape:
        raise ValueError(f"mode='repaired' needs maps of one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}.")
    own = (_self_attention(student) / temperature).flatten(1).log_softmax(1)
    return F.kl_div(own, target.flatten(1).log_softmax(1), reduction='batchmean', log_target=True) * temperature**2


def kdas_loss(student_logits_1: Tensor, student_logits_2: Tensor, teacher_logits_1: Tensor, teacher_logits_2: Tensor,
              labels: Tensor, *, temperature: float = 2.0, alpha: float = 0.3,
              mode: str = 'official') -> dict[str, Tensor]:
    """``seg``, ``attention`` and ``guiding``, already weighted; their sum is the loss.

    ``seg = (1 - alpha) * (structure(P1) + structure(P2))``; ``attention = alpha * T^2 * (loss_1 + loss_2)``, where the
    mode ``'repaired'`` holds its ``T^2`` inside; ``guiding = alpha * symmetric_guiding(P1)``.

    Args:
        student_logits_1, student_logits_2, teacher_logits_1, teacher_logits_2: two maps ``(N, 1, H, H)`` of each network.
        labels: ``(N, 1, H, H)`` masks in 0..1.
        temperature, mode: see :func:`attention_supervision_loss`.

    Raises:
        ValueError: as the functions of the parts.
    """
    attention = sum(attention_supervision_loss(s, t, temperature=temperature, mode=mode)
                    for s, t in ((student_logits_1, teacher_logits_1), (student_logits_2, teacher_logits_2)))
    seg = structure_loss(student_logits_1, labels) + structure_loss(student_logits_2, labels)
    return dict(seg=(1 - alpha) * seg, attention=alpha * (temperature**2 if mode == 'official' else 1) * attention,
                guiding=alpha * symmetric_guiding_loss(student_logits_1, teacher_logits_1))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode='bilinear', align_corners=False)


@DISTILLERS.register_module()
class KDAS(Distiller):
    """KDAS: attended and symmetrised logit maps for binary masks (Trinh et al., ICME 2024, arXiv:2312.08555).

    For segmentors of two classes with one output channel (mmseg: ``num_classes=2, out_channels=1``). The maps are brought
    to the images' size; those that are compared with the teacher's also to a square, of the shorter side. The term
    ``seg`` is the method's own task loss: set ``task.loss_weight=0`` beside it. Ignored pixels count as background that
    the student got right.

    Args:
        temperature, alpha: see :func:`kdas_loss`.
        mode: ``'official'``, as released, whose term ``attention`` has no gradient (a warning says so), or ``'repaired'``.
        weighted_bce: see :func:`structure_loss`.
        first, second: taps of the two maps, the same for both networks; one map may stand for both.
    """

    def __init__(self, temperature: float = 2.0, alpha: float = 0.3, mode: str = 'official', weighted_bce: bool = False,
                 first: str = 'logits', second: str = 'logits', ignore_index: int = 255):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"KDAS's mode is 'official' or 'repaired', not {mode!r}.")
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise ValueError(f'KDAS needs temperature > 0 and alpha from 0 to 1, got {temperature} and {alpha}.')
        self.temperature, self.alpha, self.mode, self.weighted_bce = temperature, alpha, mode, weighted_bce
        self.maps, self.ignore_index = (first, second), ignore_index
        names = tuple(dict.fromkeys(self.maps))
        self.needs = Needs(student=names, teacher=names, labels=True)

    def build(self, shapes):
        for side, taps in (('student', shapes.student), ('teacher', shapes.teacher)):
            for name in self.maps:
                if len(taps[name]) != 4 or taps[name][1] != 1:
                    raise ValueError(f"KDAS needs maps (N, 1, H, W), and the {side}'s {name!r} is {tuple(taps[name])}: "
                                     'use a binary segmentor with num_classes=2, out_channels=1 in its heads.')
        if self.mode == 'official':
            print_log("KDAS: the term `attention` of mode='official' is a constant without gradient, as in the released "
                      "code; set mode='repaired' for one that teaches.", 'current', logging.WARNING)

    def forward(self, student, teacher, batch, progress):
        labels = batch.labels
        size = labels.shape[1:]
        square = (min(size),) * 2
        ignored = (labels == self.ignore_index)[:, None]
        mask = (labels == 1)[:, None].float()
        seg = attention = 0
        for name in self.maps:
            own, target = student[name], teacher[name].detach()
            full = _resized(own, size)
            seg = seg + structure_loss(full.masked_fill(ignored, -30.0), mask, weighted_bce=self.weighted_bce)
            attention = attention + attention_supervision_loss(_resized(own, square), _resized(target, square),
                                                               temperature=self.temperature, mode=self.mode)
        guiding = symmetric_guiding_loss(*(_resized(taps[self.maps[0]], square) for taps in (student, teacher)))
        scale = self.temperature**2 if self.mode == 'official' else 1
        return dict(seg=(1 - self.alpha) * seg, attention=self.alpha * scale * attention, guiding=self.alpha * guiding)
