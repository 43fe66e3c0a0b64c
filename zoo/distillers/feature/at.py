"""Attention transfer.

Zagoruyko, Komodakis: Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via
Attention Transfer. ICLR 2017, arXiv:1612.03928.
Equal to HobbitLong/RepDistiller@b84f547 and megvii-research/mdistiller@a08d46f, whose mean over positions replaces the
sum and the weight beta/2 of the authors' code (szagoruyko/attention-transfer).
"""
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['AT', 'at_loss']


def layer_names(layers: str | Sequence[str]) -> tuple[str, ...]:
    """Tap names as a tuple; a single name may come as a string."""
    return (layers,) if isinstance(layers, str) else tuple(layers)


def listed(taps: dict, names: Iterable[str]) -> list:
    """The taps (or shapes) of ``names`` as one flat list; a tap such as ``stages`` is a list already."""
    return [item for name in names for item in (taps[name] if isinstance(taps[name], list) else [taps[name]])]


def check_pairs(student: Sequence, teacher: Sequence, method: str) -> None:
    """Both sides give one feature for each pair.

    Raises:
        ValueError: if they give none, or different numbers.
    """
    if len(student) != len(teacher) or not student:
        raise ValueError(f'{method} pairs student and teacher features one by one, and got {len(student)} and '
                         f'{len(teacher)}: name equally many with `student_layers` and `teacher_layers`.')


def check_maps(student: Sequence, teacher: Sequence, method: str) -> None:
    """The shapes are those of paired feature maps ``(N, C, H, W)``.

    Raises:
        ValueError: if the numbers differ, or a shape is not that of a map.
    """
    check_pairs(student, teacher, method)
    for shape in (*student, *teacher):
        if len(shape) != 4:
            raise ValueError(f'{method} compares feature maps (N, C, H, W), and one of its taps has the shape '
                             f'{tuple(shape)}: name maps with `student_layers` and `teacher_layers`.')


def to_smaller_map(student_feat: Tensor, teacher_feat: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps ``(N, C, H, W)`` to the other's size; heights decide, then widths."""
    student_size, teacher_size = tuple(student_feat.shape[-2:]), tuple(teacher_feat.shape[-2:])
    if student_size > teacher_size:
        student_feat = F.adaptive_avg_pool2d(student_feat, teacher_size)
    elif student_size < teacher_size:
        teacher_feat = F.adaptive_avg_pool2d(teacher_feat, student_size)
    return student_feat, teacher_feat


def map_pairs(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor],
              method: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of maps of equal size, in float32 or better (see :func:`check_maps` and :func:`to_smaller_map`)."""
    check_maps([f.shape for f in student_feats], [f.shape for f in teacher_feats], method)
    for student, teacher in zip(student_feats, teacher_feats):
        yield to_smaller_map(student.to(torch.promote_types(student.dtype, torch.float32)),
                             teacher.to(torch.promote_types(teacher.dtype, torch.float32)))


def attention_map(feat: Tensor, p: float) -> Tensor:
    """``(N, C, H, W)`` to ``(N, H*W)``: the channels' mean of ``feat ** p``, of L2 norm 1 (0 where the map is 0)."""
    if p == 2:  # a norm makes no tensor of the map's own size
        energy = torch.linalg.vector_norm(feat, dim=1).square() / feat.shape[1]
    else:
        energy = feat.pow(p).mean(1)
    return F.normalize(energy.flatten(1), dim=1, eps=1e-12)


def at_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor], *, p: float = 2) -> Tensor:
    """Mean squared difference of the attention maps, summed over the pairs.

    Args:
        student_feats, teacher_feats: equally many maps ``(N, C, H, W)``. Channels may differ; of two sizes the larger
            map is average-pooled to the smaller one's.
        p: power of the activations, with their sign (an odd ``p`` gives signed maps).

    Raises:
        ValueError: if the lists differ in length or are empty, or a feature is not a map.
    """
    return sum(F.mse_loss(attention_map(student, p), attention_map(teacher, p))
               for student, teacher in map_pairs(student_feats, teacher_feats, 'AT'))


@DISTILLERS.register_module()
class AT(Distiller):
    """Attention transfer: match each stage's spatial energy (Zagoruyko, Komodakis, ICLR 2017, arXiv:1612.03928).

    The usual outer weight is 1000.

    Args:
        p: power of the activations.
        student_layers, teacher_layers: taps of the maps, in pairs; ``stages`` are all stages without the stem.
    """

    def __init__(self, p: float = 2, student_layers: str | Sequence[str] = 'stages',
                 teacher_layers: str | Sequence[str] = 'stages'):
        super().__init__()
        self.p = p
        self.needs = Needs(student=layer_names(student_layers), teacher=layer_names(teacher_layers))

    def build(self, shapes):
        check_maps(listed(shapes.student, self.needs.student), listed(shapes.teacher, self.needs.teacher), 'AT')

    def forward(self, student, teacher, batch, progress):
        return {'at': at_loss(listed(student, self.needs.student), listed(teacher, self.needs.teacher), p=self.p)}
