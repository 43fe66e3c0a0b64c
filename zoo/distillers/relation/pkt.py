"""Probabilistic knowledge transfer.

Passalis, Tefas: Learning Deep Representations with Probabilistic Knowledge Transfer. ECCV 2018, arXiv:1803.10837.
Equal to HobbitLong/RepDistiller@b84f547, taken over there from the authors' passalis/probabilistic_kt.
"""
import torch
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['PKT', 'pkt_loss']


def _affinities(feat: Tensor, eps: float) -> Tensor:
    """Conditional probabilities ``(N, N)`` from the cosine similarities of ``(N, D)``; rows sum to 1."""
    feat = feat.flatten(1).to(torch.promote_types(feat.dtype, torch.float32))
    squared = feat.square().sum(1, keepdim=True)
    # the root of 0 has no derivative: it is taken only where the row is not zero (a row with a NaN becomes all NaN)
    norm = torch.where(squared != 0, torch.where(squared != 0, squared, 1).sqrt(), 0)
    feat = feat / (norm + eps)
    feat = torch.where(feat.isnan(), 0, feat)
    similarity = (feat @ feat.t() + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)


def pkt_loss(student_feat: Tensor, teacher_feat: Tensor, *, eps: float = 1e-7) -> Tensor:
    """KL of the batch's affinity distributions, as the mean over all ``N^2`` entries.

    Args:
        student_feat, teacher_feat: ``(N, ...)``, flattened to embeddings whose dimensions may differ.
        eps: added to the norms and inside the logarithm.

    Raises:
        ValueError: if the numbers of samples differ.
    """
    if len(student_feat) != len(teacher_feat):
        raise ValueError(f'PKT compares embeddings of the same samples, and got {len(student_feat)} and '
                         f'{len(teacher_feat)}.')
    student, teacher = _affinities(student_feat, eps), _affinities(teacher_feat, eps)
    return (teacher * ((teacher + eps) / (student + eps)).log()).mean()


@DISTILLERS.register_module()
class PKT(Distiller):
    """Probabilistic knowledge transfer: KL of the batch's affinities (Passalis, Tefas, ECCV 2018, arXiv:1803.10837).

    The usual outer weight is 30000, for a batch of 64 (the mean over ``N^2`` shrinks with the batch).

    Args:
        eps: see :func:`pkt_loss`.
        student_layer, teacher_layer: taps of the embeddings; other shapes are flattened.
    """
    same_classes = False

    def __init__(self, eps: float = 1e-7, student_layer: str = 'pooled', teacher_layer: str = 'pooled'):
        super().__init__()
        self.eps, self.student_layer, self.teacher_layer = eps, student_layer, teacher_layer
        self.needs = Needs(student=(student_layer,), teacher=(teacher_layer,))

    def forward(self, student, teacher, batch, progress):
        return {'pkt': pkt_loss(student[self.student_layer], teacher[self.teacher_layer], eps=self.eps)}
