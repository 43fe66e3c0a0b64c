"""Adaptive KL (AKL).

Wu, Tao, Wang, Yang, Zhao, Wong: Rethinking Kullback-Leibler Divergence in Knowledge Distillation for Large Language
Models. COLING 2025, arXiv:2404.02657.
No reference code by the authors that could be named; checked against their routine as copied in several public repositories.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['AdaptiveKL', 'adaptive_kl_loss']
NO_TABLE = 'the paper reports on language tasks'


def adaptive_kl_loss(student_logits: Tensor, teacher_logits: Tensor, *, mu: float = 0.5) -> Tensor:
    """``mean_n w KL(p || q) + (1 - w) KL(q || p)``; w is the head's share of ``sum_k |p - q|``, without gradient.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax; the teacher is detached.
        mu: the head are the teacher's likeliest classes whose cumulative probability, their own included, is at most
            mu, and always the likeliest one.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits, dim=1, dtype=dtype)
    log_p = F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    q, p = log_q.exp(), log_p.exp()
    with torch.no_grad():
        ranked, order = p.sort(dim=1, descending=True, stable=True)
        head = ranked.cumsum(1) <= mu
        head[:, 0] = True
        gap = (p - q).abs().gather(1, order)
        total = gap.sum(1)
        weight = (gap * head).sum(1) / total.where(total > 0, torch.ones_like(total))
    forward = (p * (log_p - log_q)).sum(1)
    reverse = (q * (log_q - log_p)).sum(1)
    return (weight * forward + (1 - weight) * reverse).mean()


@DISTILLERS.register_module()
class AdaptiveKL(Distiller):
    """AKL: forward and reverse KL, weighed by the gaps of head and tail (Wu et al., COLING 2025, arXiv:2404.02657)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, mu: float = 0.5):
        super().__init__()
        if not 0 <= mu <= 1:
            raise ValueError(f'AdaptiveKL cuts head from tail at a cumulative probability mu in [0, 1]; got {mu}.')
        self.mu = mu

    def forward(self, student, teacher, batch, progress):
        return dict(adaptive_kl=adaptive_kl_loss(student['logits'], teacher['logits'], mu=self.mu))
