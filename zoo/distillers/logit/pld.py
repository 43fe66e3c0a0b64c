"""Plackett-Luce distillation (PLD).

Bassam, Zhu, Bian: PLD: A Choice-Theoretic List-Wise Knowledge Distillation. NeurIPS 2025, arXiv:2506.12542.
Reference code: the listing in the paper's appendix C.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels

__all__ = ['PLD', 'pld_loss']


def pld_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Weighted list-wise likelihood of one ranking: the label first, then the other classes by falling teacher logit.

    ``mean_n sum_k a_k (logsumexp(u_k .. u_K) - u_k)`` with u the student's logits in that order and a the teacher's
    probabilities of the same classes (not sorted anew). There is no other cross-entropy beside it.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached.
        labels: ``(N,)`` int64.
        temperature: divides the teacher's logits in the weights; the student's are never divided.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.detach().to(dtype)
    ranks = teacher.scatter(1, labels[:, None], torch.inf).argsort(dim=1, descending=True, stable=True)
    worth = student.gather(1, ranks)
    weight = F.softmax(teacher / temperature, dim=1).gather(1, ranks)
    remaining = worth.flip(1).logcumsumexp(1).flip(1)
    return (weight * (remaining - worth)).sum(1).mean()


@DISTILLERS.register_module()
class PLD(Distiller):
    """PLD: the teacher's ranking as a series of choices, label first (Bassam et al., NeurIPS 2025, arXiv:2506.12542).

    Replaces the cross-entropy: set ``task = dict(loss_weight=0.0)``.

    Args:
        temperature: of the teacher's weights; 1 on ImageNet, 4 on CIFAR-100.
    """
    needs = Needs(student=('logits',), teacher=('logits',), labels=True)

    def __init__(self, temperature: float = 1.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher, batch, progress):
        labels = hard_labels(batch, 'PLD')
        return dict(pld=pld_loss(student['logits'], teacher['logits'], labels, temperature=self.temperature))
