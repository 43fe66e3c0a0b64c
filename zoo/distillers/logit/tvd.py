"""Total variation distance.

Wen, Li, Du, Mou: f-Divergence Minimization for Sequence-Level Knowledge Distillation. ACL 2023, arXiv:2307.15190.
Checked against jongwooko/distillm@d47e77f (distillm/losses.py), which holds the token-level form.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['TVD', 'tvd_loss']
NO_TABLE = 'the paper reports on language tasks'


def tvd_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """``mean_n 0.5 * sum_k |p - q|``, between 0 and 1.

    Args:
        student_logits, teacher_logits: ``(N, K)``, q and p their softmax; the teacher is detached.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    q = F.softmax(student_logits, dim=1, dtype=dtype)
    p = F.softmax(teacher_logits.detach(), dim=1, dtype=dtype)
    return 0.5 * (p - q).abs().sum(1).mean()


@DISTILLERS.register_module()
class TVD(Distiller):
    """Total variation: half the L1 distance of the two distributions (Wen et al., ACL 2023, arXiv:2307.15190)."""
    needs = Needs(student=('logits',), teacher=('logits',))

    def forward(self, student, teacher, batch, progress):
        return dict(tvd=tvd_loss(student['logits'], teacher['logits']))
