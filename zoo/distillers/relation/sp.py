"""Similarity-preserving knowledge distillation.

Tung, Mori: Similarity-Preserving Knowledge Distillation. ICCV 2019, arXiv:1907.09682.
Equal to HobbitLong/RepDistiller@b84f547 (whose header says that the author verified it), but for its shape ``(1,)``.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..feature.at import check_pairs, layer_names, listed

__all__ = ['SP', 'sp_loss']


def _similarities(feat: Tensor) -> Tensor:
    """Gram matrix ``(N, N)`` of the flattened features, each row of L2 norm 1."""
    feat = feat.flatten(1).to(torch.promote_types(feat.dtype, torch.float32))
    return F.normalize(feat @ feat.t(), dim=1, eps=1e-12)


def sp_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of the row-normalised Gram matrices, summed over the pairs.

    Args:
        student_feats, teacher_feats: equally many features ``(N, ...)`` of any shape.

    Raises:
        ValueError: if the lists differ in length or are empty.
    """
    check_pairs(student_feats, teacher_feats, 'SP')
    return sum(F.mse_loss(_similarities(student), _similarities(teacher))
               for student, teacher in zip(student_feats, teacher_feats))


@DISTILLERS.register_module()
class SP(Distiller):
    """Similarity-preserving KD: match the batch's activation similarities (Tung, Mori, ICCV 2019, arXiv:1907.09682).

    The usual outer weight is 3000. A batch of one gives zero.

    Args:
        student_layers, teacher_layers: taps of features of any shape, in pairs; the last stage's map by default.
    """
    same_classes = False

    def __init__(self, student_layers: str | Sequence[str] = 'stages.-1',
                 teacher_layers: str | Sequence[str] = 'stages.-1'):
        super().__init__()
        self.needs = Needs(student=layer_names(student_layers), teacher=layer_names(teacher_layers))

    def build(self, shapes):
        check_pairs(listed(shapes.student, self.needs.student), listed(shapes.teacher, self.needs.teacher), 'SP')

    def forward(self, student, teacher, batch, progress):
        return {'sp': sp_loss(listed(student, self.needs.student), listed(teacher, self.needs.teacher))}
