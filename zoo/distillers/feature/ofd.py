"""Overhaul of feature distillation (OFD).

Heo, Kim, Yun, Park, Kwak, Choi: A Comprehensive Overhaul of Feature Distillation. ICCV 2019, arXiv:1904.01866.
Reference code: clovaai/overhaul-distillation@76344a8 (CIFAR-100/distiller.py, train_with_distillation.py); the pooling
of the teacher to the student's size and the alignment of the lists from the end follow
megvii-research/mdistiller@a08d46f.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['OFD', 'margin_from_bn', 'ofd_loss']


def margin_from_bn(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean of the negative half of a BatchNorm's Gaussian, channel by channel (section 3.2, eq. 3 to 5).

    With ``s = |weight|``, ``m = bias`` and ``P`` the standard normal cdf: ``E[x | x < 0]`` for ``x ~ N(m, s^2)`` where
    ``P(-m / s) > 0.001``, else ``-3 s``. For ``s = 0`` the limit ``min(m, 0)``, where the reference divides by zero.

    Args:
        weight, bias: ``(C,)`` of the BatchNorm before the ReLU.

    Returns:
        ``(C,)`` float32, as the reference; computed in float64.
    """
    exact = torch.float32 if weight.device.type == 'mps' else torch.float64
    scale, mean = weight.detach().to(exact).abs(), bias.detach().to(exact)
    ratio = mean / torch.where(scale == 0, torch.ones_like(scale), scale)
    negative = torch.special.ndtr(-ratio)
    usual = mean - scale * torch.exp(-ratio**2 / 2) / (math.sqrt(2 * math.pi) * negative)
    margin = torch.where(negative > 0.001, usual, -3 * scale)
    return torch.where(scale == 0, mean.clamp(max=0), margin).float()


def ofd_loss(student_feats: list[Tensor], teacher_feats: list[Tensor], margins: list[Tensor]) -> Tensor:
    """Partial L2 distance to the teacher's margin ReLU, summed over positions, averaged over the batch (eq. 2).

    Positive targets are regressed; a target that is not positive counts only where the student lies above it. The
    deepest stage has weight 1 and each shallower one half of the next.

    Args:
        student_feats: connector outputs ``(N, C_i, H_i, W_i)``, shallow to deep, before the ReLU.
        teacher_feats: the same shapes, before the ReLU; detached.
        margins: ``(C_i,)`` each, of :func:`margin_from_bn`.

    Raises:
        ValueError: if the lists differ in length or a pair in shape.
    """
    if not len(student_feats) == len(teacher_feats) == len(margins):
        raise ValueError('ofd_loss needs one teacher map and one margin for each student map, got '
                         f'{len(student_feats)}, {len(teacher_feats)} and {len(margins)}.')
    loss, last = 0.0, len(student_feats) - 1
    for i, (student, teacher, margin) in enumerate(zip(student_feats, teacher_feats, margins)):
        if student.shape != teacher.shape:
            raise ValueError(f'ofd_loss compares maps of one shape, got {tuple(student.shape)} and '
                             f'{tuple(teacher.shape)}.')
        if student.dtype in (torch.float16, torch.bfloat16):
            student = student.float()
        teacher = teacher.detach().to(student.dtype)
        target = torch.maximum(teacher, margin.to(teacher)[None, :, None, None])
        counts = (student > target) | (target > 0)
        loss = loss + (student - target).square().mul(counts).sum() / 2**(last - i)
    return loss / len(student_feats[0])


@DISTILLERS.register_module()
class OFD(Distiller):
    """OFD: regression before the ReLU with a margin for negative responses (Heo et al., ICCV 2019, arXiv:1904.01866).

    The loss is a sum over positions: 1/1000 is the paper's weight for CIFAR-100, 1/10000 for ImageNet. The last stages
    of the two lists are paired. Maps of unlike size are pooled to the smaller one. A batch of one image on 1x1 maps
    gives a zero term, for the connectors' BatchNorm needs two values.

    Args:
        student_feats, teacher_feats: taps that are lists of maps before the ReLU (a student without ``preact_stages``,
            such as MobileNetV2, takes ``stages``).
        margin_norms: module paths of the teacher's BatchNorms before these ReLUs, shallow to deep; by default the
            network's own attribute ``margin_norms``.
        teacher_batch_stats: the teacher's BatchNorms use the statistics of the training batch, as in both reference
            codes, for every distiller of the run; evaluation and the stored running statistics are left as they are.
    """

    def __init__(self, student_feats: str = 'preact_stages', teacher_feats: str = 'preact_stages',
                 margin_norms: list[str] | None = None, teacher_batch_stats: bool = True):
        super().__init__()
        self.student_feats, self.teacher_feats, self.margin_norms = student_feats, teacher_feats, margin_norms
        self.teacher_batch_stats = teacher_batch_stats
        self.needs = Needs(student=(student_feats,), teacher=(teacher_feats,))
        self._teacher_norms: list[nn.Module] = []

    def adapt_teacher(self, teacher):
        if self.teacher_batch_stats:
            self._teacher_norms = [m for m in teacher.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            for norm in self._teacher_norms:
                norm.momentum = 0.0  # batch statistics are used, the running ones stay

    def train(self, mode: bool = True):
        for norm in self._teacher_norms:
            norm.training = mode
        return super().train(mode)

    def build(self, shapes):
        student, teacher = shapes.student[self.student_feats], shapes.teacher[self.teacher_feats]
        for side, name, entry in (('student', self.student_feats, student), ('teacher', self.teacher_feats, teacher)):
            if not isinstance(entry, list) or any(len(shape) != 4 for shape in entry):
                raise ValueError(f'OFD reads a list of maps (N, C, H, W); the {side}\'s tap {name!r} is {entry}: '
                                 'name a tap such as preact_stages.')
        net = getattr(shapes.teacher_net, 'module', None)
        paths = self.margin_norms or getattr(net, 'margin_norms', None)
        if net is None or not paths:
            raise ValueError('OFD needs the BatchNorm before the last ReLU of each teacher stage, and '
                             f'{type(net).__name__} names none: set margin_norms=[module paths], or take another '
                             'teacher (the ShuffleNets have none).')
        count = self.stages = min(len(student), len(teacher), len(paths))
        pairs = zip(student[-count:], teacher[-count:], paths[-count:])
        self.connectors = nn.ModuleList()
        for i, (own, other, path) in enumerate(pairs):
            norm = net.get_submodule(path)
            if norm.weight is None or len(norm.weight) != other[1]:
                raise ValueError(f'OFD: the teacher\'s {path!r} ({norm}) does not belong to its map {tuple(other)}: '
                                 'name the BatchNorm before the ReLU of that stage in margin_norms.')
            conv = nn.Conv2d(own[1], other[1], 1, bias=False)
            nn.init.normal_(conv.weight, 0, math.sqrt(2 / other[1]))
            self.connectors.append(nn.Sequential(conv, nn.BatchNorm2d(other[1])))
            self.register_buffer(f'margin{i}', margin_from_bn(norm.weight, norm.bias))

    def forward(self, student, teacher, batch, progress):
        student, teacher = student[self.student_feats][-self.stages:], teacher[self.teacher_feats][-self.stages:]
        if self.training and any(len(x) * min(x.shape[2], y.shape[2]) * min(x.shape[3], y.shape[3]) == 1
                                 for x, y in zip(student, teacher)):  # one value a channel: BatchNorm has no variance
            return dict(ofd=sum(x.sum() for x in student) * 0.0)
        pairs = [_smaller(x, y) for x, y in zip(student, teacher)]
        outputs = [connector(x) for connector, (x, _) in zip(self.connectors, pairs)]
        margins = [getattr(self, f'margin{i}') for i in range(self.stages)]
        return dict(ofd=ofd_loss(outputs, [y for _, y in pairs], margins))


def _smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps pooled to the smaller height and width."""
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return tuple(x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
