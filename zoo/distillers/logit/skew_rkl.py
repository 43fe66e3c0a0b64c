"""Skew reverse KL: reverse KL towards a mixture of teacher and student.

Ko, Kim, Chen, Yun: DistiLLM: Towards Streamlined Distillation for Large Language Models. ICML 2024, arXiv:2402.03898.
Reference code: jongwooko/distillm@d47e77f (distillm/losses.py).
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['SkewRKL', 'skew_rkl_loss']
NO_TABLE = 'the paper reports on language tasks'


def skew_rkl_loss(student_logits: Tensor, teacher_logits: Tensor, *, alpha: float = 0.1) -> Tensor:
    """``mean_n KL(q || m)`` with ``m = (1 - alpha) p + alpha q``; the gradient goes through m as well.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax; the teacher is detached.
        alpha: weight of the **student** in the mixture (:func:`skew_kl_loss` weighs the teacher); 0 is reverse KL,
            1 is zero.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits, dim=1, dtype=dtype)
    log_p = F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    if alpha == 0:
        log_m = log_p
    elif alpha == 1:
        log_m = log_q
    else:
        log_m = torch.logaddexp(log_p + math.log1p(-alpha), log_q + math.log(alpha))
    return (log_q.exp() * (log_q - log_m)).sum(1).mean()


@DISTILLERS.register_module()
class SkewRKL(Distiller):
    """Skew reverse KL: KL from the student to a teacher-student mixture (Ko et al., ICML 2024, arXiv:2402.03898)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, alpha: float = 0.1):
        super().__init__()
        if not 0 <= alpha < 1:
            raise ValueError(f'SkewRKL mixes alpha of the student into the teacher, 0 <= alpha < 1; got {alpha}.')
        self.alpha = alpha

    def forward(self, student, teacher, batch, progress):
        return dict(skew_rkl=skew_rkl_loss(student['logits'], teacher['logits'], alpha=self.alpha))
