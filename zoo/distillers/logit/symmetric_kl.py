"""Symmetric KL: forward and reverse KL mixed.

Ko, Kim, Chen, Yun: DistiLLM: Towards Streamlined Distillation for Large Language Models. ICML 2024, arXiv:2402.03898.
Reference code: jongwooko/distillm@d47e77f (distillm/losses.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from .reverse_kl import reverse_kl_loss

__all__ = ['SymmetricKL', 'symmetric_kl_loss']
NO_TABLE = 'the paper reports on language tasks'


def symmetric_kl_loss(student_logits: Tensor, teacher_logits: Tensor, *, alpha: float = 0.9) -> Tensor:
    """``(1 - alpha) * CE(p, q) + alpha * KL(q || p)``; the forward part leaves out the teacher's entropy.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax; the teacher is detached.
        alpha: share of the reverse KL.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits, dim=1, dtype=dtype)
    p = F.softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    forward = -(p * log_q).sum(1).mean()
    return (1 - alpha) * forward + alpha * reverse_kl_loss(student_logits, teacher_logits)


@DISTILLERS.register_module()
class SymmetricKL(Distiller):
    """Symmetric KL: a mix of forward and reverse KL of the logits (Ko et al., ICML 2024, arXiv:2402.03898)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, alpha: float = 0.9):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f'SymmetricKL mixes with alpha between 0 (forward) and 1 (reverse); got {alpha}.')
        self.alpha = alpha

    def forward(self, student, teacher, batch, progress):
        return dict(symmetric_kl=symmetric_kl_loss(student['logits'], teacher['logits'], alpha=self.alpha))
