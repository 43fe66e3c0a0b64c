"""Neuron selectivity transfer.

Huang, Wang: Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. 2017, arXiv:1707.01219.
Equal to HobbitLong/RepDistiller@b84f547 and megvii-research/mdistiller@a08d46f (no factor 1/2 before the MMD).
"""
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from .at import check_maps, layer_names, listed, map_pairs

__all__ = ['NST', 'nst_loss']


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Mean of the polynomial kernel ``(a_i . b_j)^2`` over images and channel pairs; ``(N, Ca, P)``, ``(N, Cb, P)``."""
    return (a @ b.transpose(1, 2)).square().mean()


def nst_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor]) -> Tensor:
    """Squared MMD between the channels' normalised activation patterns, summed over the pairs.

    The teacher's own term is a constant: part of the value, without gradient.

    Args:
        student_feats, teacher_feats: equally many maps ``(N, C, H, W)``. Channels may differ; of two sizes the larger
            map is average-pooled to the smaller one's.

    Raises:
        ValueError: if the lists differ in length or are empty, or a feature is not a map.
    """
    total = 0
    for student, teacher in map_pairs(student_feats, teacher_feats, 'NST'):
        student = F.normalize(student.flatten(2), dim=2, eps=1e-12)
        teacher = F.normalize(teacher.flatten(2), dim=2, eps=1e-12)
        total = total + (_mean_kernel(teacher, teacher).detach() + _mean_kernel(student, student)
                         - 2 * _mean_kernel(student, teacher))
    return total


@DISTILLERS.register_module()
class NST(Distiller):
    """Neuron selectivity transfer: match the channels' patterns by MMD (Huang, Wang, arXiv 2017, arXiv:1707.01219).

    The usual outer weight is 50.

    Args:
        student_layers, teacher_layers: taps of the maps, in pairs; ``stages`` are all stages without the stem.
    """

    def __init__(self, student_layers: str | Sequence[str] = 'stages', teacher_layers: str | Sequence[str] = 'stages'):
        super().__init__()
        self.needs = Needs(student=layer_names(student_layers), teacher=layer_names(teacher_layers))

    def build(self, shapes):
        check_maps(listed(shapes.student, self.needs.student), listed(shapes.teacher, self.needs.teacher), 'NST')

    def forward(self, student, teacher, batch, progress):
        return {'nst': nst_loss(listed(student, self.needs.student), listed(teacher, self.needs.teacher))}
