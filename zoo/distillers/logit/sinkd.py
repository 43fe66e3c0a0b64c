"""Sinkhorn knowledge distillation (SinKD) over batches.

Cui, Qin, Gao, Zhang, Xu, Wu, Li, Sun, Zhou, Li: Sinkhorn Distance Minimization for Knowledge Distillation.
LREC-COLING 2024, arXiv:2402.17110.
Reference code: 2018cx/SinKD@1ffac90 (loss.py), without its constant factor 0.001, which is the weight here.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['SinKD', 'sinkd_loss', 'sinkd_plan']


def sinkd_plan(cost: Tensor, *, eps: float = 0.1, n_iters: int = 20) -> Tensor:
    """Transport plan ``(N, M)``: ``exp(-cost / eps)``, rows, then columns divided by their sums, ``n_iters`` times.

    Columns sum to 1 at the end, rows nearly so where N = M: the mass is M. (The paper's marginals are 1 / N, its code's
    are 1.) Differentiable in the cost through every division.

    Args:
        cost: ``(N, M)``.
        eps: entropy regularisation.
        n_iters: rounds of the two divisions.
    """
    # In log space, where no row or column can underflow to a sum of 0.
    log_plan = -cost.to(torch.promote_types(cost.dtype, torch.float32)) / eps
    for _ in range(n_iters):
        log_plan = log_plan - log_plan.logsumexp(1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(0, keepdim=True)
    return log_plan.exp()


def sinkd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0, eps: float = 0.1,
               n_iters: int = 20) -> Tensor:
    """``sum_ij P_ij W_ij`` with ``W_ij`` the L1 distance of student i's and teacher j's probabilities; no ``T^2``.

    A sum over the batch, so it grows with N.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached, the plan P is not.
        temperature: divides both logits.
        eps, n_iters: see :func:`sinkd_plan`.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = F.softmax(student_logits.to(dtype) / temperature, dim=1)
    teacher = F.softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    cost = torch.cdist(student, teacher, p=1)
    return (sinkd_plan(cost, eps=eps, n_iters=n_iters) * cost).sum()


@DISTILLERS.register_module()
class SinKD(Distiller):
    """SinKD: optimal transport between the batch's distributions (Cui et al., LREC-COLING 2024, arXiv:2402.17110).

    Used beside ``KD``; its weight is 0.001 in the paper's BERT runs.

    Args:
        temperature, eps, n_iters: see :func:`sinkd_loss`.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, temperature: float = 2.0, eps: float = 0.1, n_iters: int = 20):
        super().__init__()
        if eps <= 0 or n_iters < 1:
            raise ValueError(f'SinKD needs eps above 0 and at least one iteration; got eps {eps}, n_iters {n_iters}.')
        self.temperature = temperature
        self.eps = eps
        self.n_iters = n_iters

    def forward(self, student, teacher, batch, progress):
        return dict(sinkd=sinkd_loss(student['logits'], teacher['logits'], temperature=self.temperature, eps=self.eps,
                                     n_iters=self.n_iters))
