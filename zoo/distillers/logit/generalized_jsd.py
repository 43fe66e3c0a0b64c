"""Generalised Jensen-Shannon divergence.

Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem: On-Policy Distillation of Language Models: Learning from
Self-Generated Mistakes. ICLR 2024, arXiv:2306.13649.
No code by the authors; equal to the re-implementation in huggingface/trl 1.16.0 (trl/experimental/gkd).
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['GeneralizedJSD', 'generalized_jsd_loss']
NO_TABLE = 'the paper reports on language tasks'


def generalized_jsd_loss(student_logits: Tensor, teacher_logits: Tensor, *, beta: float = 0.5,
                         temperature: float = 1.0) -> Tensor:
    """``mean_n beta KL(p || m) + (1 - beta) KL(q || m)`` with ``m = beta p + (1 - beta) q``; no ``T^2``.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax at the temperature; the teacher is detached.
        beta: 0 is forward KL ``KL(p || q)`` and 1 reverse KL ``KL(q || p)``: set apart, since the formula's own limits
            are zero there. Between them the value is at most log 2.
        temperature: divides both logits.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    log_p = F.log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    if beta == 0:
        return (log_p.exp() * (log_p - log_q)).sum(1).mean()
    if beta == 1:
        return (log_q.exp() * (log_q - log_p)).sum(1).mean()
    log_m = torch.logaddexp(log_q + math.log1p(-beta), log_p + math.log(beta))
    forward = (log_p.exp() * (log_p - log_m)).sum(1).mean()
    reverse = (log_q.exp() * (log_q - log_m)).sum(1).mean()
    return beta * forward + (1 - beta) * reverse


@DISTILLERS.register_module()
class GeneralizedJSD(Distiller):
    """GKD's divergence: Jensen-Shannon between forward and reverse KL (Agarwal et al., ICLR 2024, arXiv:2306.13649)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, beta: float = 0.5, temperature: float = 1.0):
        super().__init__()
        if not 0 <= beta <= 1:
            raise ValueError(f'GeneralizedJSD goes from forward KL (beta 0) to reverse KL (beta 1); got beta {beta}.')
        self.beta = beta
        self.temperature = temperature

    def forward(self, student, teacher, batch, progress):
        return dict(generalized_jsd=generalized_jsd_loss(
            student['logits'], teacher['logits'], beta=self.beta, temperature=self.temperature))
