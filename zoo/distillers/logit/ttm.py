"""Transformed teacher matching (TTM) and its weighted form (WTTM).

Zheng, Yang: Knowledge Distillation Based on Transformed Teacher Matching. ICLR 2024, arXiv:2402.11148.
Reference code: zkxufo/TTM@fe457b3 (distiller_zoo/ttm.py, wttm.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['TTM', 'ttm_loss', 'wttm_loss']


def _power_transform(student_logits: Tensor, teacher_logits: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """``KL(q || softmax(student))`` and ``log U``, both ``(N,)``: ``U = sum_k p^gamma``, ``q = p^gamma / U``."""
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    # In log space: p^gamma of an underflowed p would be 0, and 0 * log 0 not a number.
    powered = gamma * F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    log_mass = powered.logsumexp(1)
    log_q = powered - log_mass[:, None]
    divergence = (log_q.exp() * (log_q - F.log_softmax(student_logits, dim=1, dtype=dtype))).sum(1)
    return divergence, log_mass


def ttm_loss(student_logits: Tensor, teacher_logits: Tensor, *, gamma: float = 0.1) -> Tensor:
    """``mean_n KL(q || softmax(student))`` with ``q`` the teacher's probabilities to the power gamma, renormalised.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached, the student stays at temperature 1.
        gamma: power, ``1 / T`` of a temperature on the teacher alone. There is no ``T^2``.
    """
    return _power_transform(student_logits, teacher_logits, gamma)[0].mean()


def wttm_loss(student_logits: Tensor, teacher_logits: Tensor, *, gamma: float = 0.1) -> Tensor:
    """:func:`ttm_loss` with each sample weighed by ``U_n = sum_k p_nk^gamma``, large where the teacher is unsure.

    U lies between 1 and ``K^(1 - gamma)`` for gamma up to 1 and is not normalised, so the scale grows with K.

    Args:
        student_logits, teacher_logits, gamma: as in :func:`ttm_loss`.
    """
    divergence, log_mass = _power_transform(student_logits, teacher_logits, gamma)
    return (log_mass.exp() * divergence).mean()


@DISTILLERS.register_module()
class TTM(Distiller):
    """TTM: a power-transformed teacher, a student at temperature 1 (Zheng and Yang, ICLR 2024, arXiv:2402.11148).

    Args:
        gamma: power of the teacher's probabilities, 0.1 to 0.5 by pair.
        weighted: WTTM, with more weight where the teacher is unsure; needs an outer weight of its own.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, gamma: float = 0.1, weighted: bool = False):
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"TTM raises the teacher's probabilities to a power gamma above 0; got {gamma}.")
        self.gamma = gamma
        self.weighted = weighted

    def forward(self, student, teacher, batch, progress):
        if self.weighted:
            return dict(wttm=wttm_loss(student['logits'], teacher['logits'], gamma=self.gamma))
        return dict(ttm=ttm_loss(student['logits'], teacher['logits'], gamma=self.gamma))
