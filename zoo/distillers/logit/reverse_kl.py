"""Reverse KL.

Gu, Dong, Wei, Huang: MiniLLM: Knowledge Distillation of Large Language Models. ICLR 2024, arXiv:2306.08543.
Checked against jongwooko/distillm@d47e77f, which holds the token-level form; an image's logits are one token.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['ReverseKL', 'reverse_kl_loss']
NO_TABLE = 'the paper reports on language tasks'


def reverse_kl_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """``mean_n KL(q || p)`` with ``q = softmax(student)``, ``p = softmax(teacher)``: seeks the teacher's modes.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the gradient goes through both places of q, the teacher is detached.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits, dim=1, dtype=dtype)
    log_p = F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    return (log_q.exp() * (log_q - log_p)).sum(1).mean()


@DISTILLERS.register_module()
class ReverseKL(Distiller):
    """Reverse KL: the student's expectation of the log-ratio, mode-seeking (Gu et al., ICLR 2024, arXiv:2306.08543)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def forward(self, student, teacher, batch, progress):
        return dict(reverse_kl=reverse_kl_loss(student['logits'], teacher['logits']))
