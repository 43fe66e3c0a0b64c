"""Knowledge distillation.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. NIPS workshop 2014, arXiv:1503.02531.
No code by the authors; equal to megvii-research/mdistiller@a08d46f.
"""
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import pool_to_smaller

__all__ = ['KD', 'kd_loss']


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """``T^2 * mean_n KL(softmax(teacher / T) || softmax(student / T))`` (section 2 of the paper).

    Args:
        student_logits, teacher_logits: ``(N, K)``, or ``(N, K, H, W)``, of which each position counts as a sample; the sum
            goes over classes, the mean over samples.
        temperature: T, applied to both.
    """
    if student_logits.dim() == 4:
        student_logits, teacher_logits = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (student_logits, teacher_logits))
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction='batchmean', log_target=True) * temperature**2


@DISTILLERS.register_module()
class KD(Distiller):
    """Knowledge distillation: tempered KL of the logits (Hinton et al., NIPS-W 2014, arXiv:1503.02531).

    In segmentation each pixel counts as a sample, and maps of different sizes are averaged to the smaller.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, temperature: float = 4.0):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher, batch, progress):
        pair = student['logits'], teacher['logits']
        if pair[0].dim() == 4:
            pair = pool_to_smaller(*pair)
        return dict(kd=kd_loss(*pair, temperature=self.temperature))
