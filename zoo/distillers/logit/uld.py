"""Universal logit distillation (ULD): sorted probabilities, so that teacher and student need no common classes.

Boizard, El Haddad, Hudelot, Colombo: Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for
LLMs. TMLR 2025, arXiv:2402.12030.
Reference code: Nicolas-BZRD/llm-recipes@ab6e798 (models/distillation_model.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['ULD', 'uld_loss']
NO_TABLE = 'the paper reports on language tasks'


def uld_loss(student_logits: Tensor, teacher_logits: Tensor, *, student_temperature: float = 1.0,
             teacher_temperature: float = 1.0) -> Tensor:
    """``mean_n sum_k |p_(k) - q_(k)|`` of the probabilities sorted downwards, between 0 and 2.

    Classes lose their identity, so this never is the only loss.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits: ``(N, L)``, detached; the shorter of the two is padded with zero probabilities.
        student_temperature, teacher_temperature: divide the logits.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    q = F.softmax(student_logits.to(dtype) / student_temperature, dim=1).sort(dim=1, descending=True).values
    p = F.softmax(teacher_logits.detach().to(dtype) / teacher_temperature, dim=1).sort(dim=1, descending=True).values
    width = max(q.shape[1], p.shape[1])
    q, p = F.pad(q, (0, width - q.shape[1])), F.pad(p, (0, width - p.shape[1]))
    return (p - q).abs().sum(1).mean()


@DISTILLERS.register_module()
class ULD(Distiller):
    """ULD: L1 distance of sorted probabilities, across label sets (Boizard et al., TMLR 2025, arXiv:2402.12030)."""
    needs = Needs(student=('logits',), teacher=('logits',))
    same_classes = False

    def __init__(self, student_temperature: float = 1.0, teacher_temperature: float = 1.0):
        super().__init__()
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature

    def forward(self, student, teacher, batch, progress):
        return dict(uld=uld_loss(student['logits'], teacher['logits'], student_temperature=self.student_temperature,
                                 teacher_temperature=self.teacher_temperature))
