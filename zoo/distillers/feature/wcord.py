"""Wasserstein contrastive representation distillation.

Chen, Wang, Gan, Liu, Henao, Carin: Wasserstein Contrastive Representation Distillation. CVPR 2021, arXiv:2012.08674.
No reference code: our reading of the paper. Free choices: the critic is the cosine over a temperature on spectrally
normalised embeddings; the factor of the negatives is an argument; the transport plan is a constant; the local term
moves the student alone. Banks, negatives and updates are those of :mod:`zoo.distillers.feature.crd`.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from zoo.registry import DISTILLERS

from .crd import CRD

__all__ = ['WCoRD', 'wcord_global_loss', 'wcord_local_loss', 'wcord_sinkhorn']


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def wcord_global_loss(student_feat: Tensor, teacher_feat: Tensor, contrast_indices: Tensor, memory_student: Tensor,
                      memory_teacher: Tensor, *, temperature: float = 0.07,
                      negative_weight: float | None = None) -> Tensor:
    """Dual form: the critic's mean on true pairs less ``w`` times its mean on pairs with the bank, negated, both ways.

    Args:
        student_feat, teacher_feat: ``(N, D)`` embeddings of L2 norm 1; both get gradients.
        contrast_indices: ``(N, K+1)`` int64 rows of the banks: the positive, then K negatives.
        memory_student, memory_teacher: ``(rows, D)`` banks, constants.
        temperature: the critic is ``a . b / temperature``.
        negative_weight: w; None is the paper's factor K, with which the negatives dominate.

    Raises:
        ValueError: if there is no negative.
    """
    if contrast_indices.dim() != 2 or contrast_indices.shape[1] < 2 or len(contrast_indices) != len(student_feat):
        raise ValueError('wcord_global_loss needs contrast_indices (N, K+1), a positive and K >= 1 negatives for each '
                         f'of the {len(student_feat)} samples, got the shape {tuple(contrast_indices.shape)}.')
    weight = contrast_indices.shape[1] - 1 if negative_weight is None else negative_weight
    loss = 0.0
    for anchor, memory in ((student_feat, memory_teacher), (teacher_feat, memory_student)):
        anchor = _exact(anchor)
        # the whole product is far smaller than the gathered rows (N, K+1, D)
        scores = (anchor @ memory.detach().to(anchor.dtype).t()).gather(1, contrast_indices) / temperature
        loss = loss - (scores[:, 0] - weight * scores[:, 1:].mean(1)).mean()
    return loss


def wcord_sinkhorn(cost: Tensor, *, eps: float = 0.1, n_iters: int = 50) -> Tensor:
    """The entropic transport plan of a cost between uniform marginals, by Sinkhorn's iteration on logarithms.

    Args:
        cost: ``(n, m)``.
        eps: strength of the entropy; low values need more iterations.
        n_iters: of the iteration, at least 1.

    Returns:
        ``(n, m)``; its columns sum to ``1 / m``, its rows to about ``1 / n``.

    Raises:
        ValueError: if ``eps`` is not positive or there is no iteration.
    """
    if eps <= 0 or n_iters < 1:
        raise ValueError(f'wcord_sinkhorn needs eps > 0 and n_iters >= 1, got {eps} and {n_iters}.')
    cost = _exact(cost)
    rows, columns = cost.shape
    g = cost.new_zeros(columns)
    for _ in range(n_iters):
        f = -eps * (math.log(rows) + torch.logsumexp((g - cost) / eps, dim=1))
        g = -eps * (math.log(columns) + torch.logsumexp((f[:, None] - cost) / eps, dim=0))
    return torch.exp((f[:, None] + g - cost) / eps)


def wcord_local_loss(student_feat: Tensor, teacher_feat: Tensor, *, eps: float = 0.1, n_iters: int = 50) -> Tensor:
    """Primal form: the cost, one minus the cosine, of moving a batch's student embeddings onto the teacher's.

    The plan carries no gradient. Its entropy gives the loss a positive floor, even for equal sets.

    Args:
        student_feat, teacher_feat: ``(N, D)`` and ``(M, D)``.
        eps, n_iters: of :func:`wcord_sinkhorn`.
    """
    student, teacher = F.normalize(_exact(student_feat), dim=1), F.normalize(_exact(teacher_feat), dim=1)
    cost = 1 - teacher @ student.t()
    return (wcord_sinkhorn(cost.detach(), eps=eps, n_iters=n_iters) * cost).sum()


@DISTILLERS.register_module()
class WCoRD(CRD):
    """WCoRD: Wasserstein distances in place of CRD's divergence (Chen et al., CVPR 2021, arXiv:2012.08674).

    The global term scores pairs with the memory banks, the local one transports a batch. Their weights 0.8 and 0.05
    are the paper's as we remember it (not verified). Both embeddings are spectrally normalised and trained, the
    teacher's by the global term alone.

    Args:
        embedding_dim, num_negatives, temperature, momentum, mode, student_layer, teacher_layer: as in :class:`CRD`.
        negative_weight: of the negatives' mean in the global term. None is the paper's factor K, which lets them
            dominate; the default is the safe 1.
        global_weight, local_weight: of the two terms.
        eps, n_iters: of :func:`wcord_sinkhorn`.
    """

    def __init__(self, embedding_dim: int = 128, num_negatives: int = 16384, temperature: float = 0.07,
                 momentum: float = 0.5, mode: str = 'exact', negative_weight: float | None = 1.0,
                 global_weight: float = 0.8, local_weight: float = 0.05, eps: float = 0.1, n_iters: int = 50,
                 student_layer: str = 'pooled', teacher_layer: str = 'pooled'):
        super().__init__(embedding_dim, num_negatives, temperature, momentum, mode, student_layer, teacher_layer)
        if eps <= 0 or n_iters < 1:
            raise ValueError(f'WCoRD needs eps > 0 and n_iters >= 1, got {eps} and {n_iters}.')
        self.negative_weight, self.global_weight, self.local_weight = negative_weight, global_weight, local_weight
        self.eps, self.n_iters = eps, n_iters

    def build(self, shapes):
        super().build(shapes)
        for embedding in (self.student_embedding, self.teacher_embedding):
            spectral_norm(embedding.linear)

    def prepare(self, training_set):
        super().prepare(training_set)
        del self.z_student, self.z_teacher  # there is no normaliser

    def forward(self, student, teacher, batch, progress):
        if not self.n_data:
            raise ValueError('WCoRD has no memory banks: call `prepare(training_set)` before the first step.')
        if batch.indices is None:
            raise ValueError("WCoRD needs the samples' positions in the data set (batch.indices), and this batch has "
                             'none.')
        student_feat = self.student_embedding(student[self.student_layer])
        teacher_feat = self.teacher_embedding(teacher[self.teacher_layer])
        # the backward pass keeps the banks as they are now, and the update below is in place: so it gets copies
        distance = wcord_global_loss(
            student_feat, teacher_feat, self.contrast_indices(batch.indices), self.memory_student.clone(),
            self.memory_teacher.clone(), temperature=self.temperature, negative_weight=self.negative_weight)
        transport = wcord_local_loss(student_feat, teacher_feat.detach(), eps=self.eps, n_iters=self.n_iters)
        if self.training:
            self._update_memories(student_feat, teacher_feat, batch.indices)
        return {'global': self.global_weight * distance, 'local': self.local_weight * transport}
