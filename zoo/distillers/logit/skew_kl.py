"""Skew KL: forward KL towards a mixture of teacher and student.

Ko, Kim, Chen, Yun: DistiLLM: Towards Streamlined Distillation for Large Language Models. ICML 2024, arXiv:2402.03898.
Reference code: jongwooko/distillm@d47e77f (distillm/losses.py).
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['SkewKL', 'skew_kl_loss']
NO_TABLE = 'the paper reports on language tasks'


def skew_kl_loss(student_logits: Tensor, teacher_logits: Tensor, *, alpha: float = 0.1) -> Tensor:
    """``mean_n -sum_k p log m`` with ``m = alpha p + (1 - alpha) q``: ``KL(p || m)`` plus the teacher's entropy.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax; the teacher is detached.
        alpha: weight of the **teacher** in the mixture; 0 is cross-entropy with q, 1 carries no gradient.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    log_q = F.log_softmax(student_logits, dim=1, dtype=dtype)
    log_p = F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    if alpha == 0:
        log_m = log_q
    elif alpha == 1:
        log_m = log_p + 0 * log_q  # keeps the graph
    else:
        log_m = torch.logaddexp(log_p + math.log(alpha), log_q + math.log1p(-alpha))
    return -(log_p.exp() * log_m).sum(1).mean()


@DISTILLERS.register_module()
class SkewKL(Distiller):
    """Skew KL: KL from the teacher to a teacher-student mixture (Ko et al., ICML 2024, arXiv:2402.03898)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, alpha: float = 0.1):
        super().__init__()
        if not 0 <= alpha < 1:
            raise ValueError(f'SkewKL mixes alpha of the teacher into the student, 0 <= alpha < 1; got {alpha}.')
        self.alpha = alpha

    def forward(self, student, teacher, batch, progress):
        return dict(skew_kl=skew_kl_loss(student['logits'], teacher['logits'], alpha=self.alpha))
