"""LumiNet.

Hossain, Elahi, Ramasinghe, Cheraghian, Rahman, Mohammed, Rahman: LumiNet: Perception-Driven Knowledge Distillation
via Statistical Logit Calibration. TMLR 2025, arXiv:2310.03669 (earlier title: The Bright Side of Perceptual Knowledge
Distillation).
Reference code: ismail31416/LumiNet@8cf749b (mdistiller/distillers/Luminet.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['LumiNet', 'luminet_loss', 'luminet_perception']


def luminet_perception(logits: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Each class column standardised over the batch, ``(N, K)``, with gradient through mean and variance.

    Args:
        logits: ``(N, K)``; a column that is constant over the batch, as with N = 1, becomes 0.
        eps: added to the biased variance inside the root.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    variance, mean = torch.var_mean(logits, dim=0, correction=0, keepdim=True)
    return (logits - mean) / (variance + eps).sqrt()


def luminet_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0, alpha: float = 33.0,
                 eps: float = 1e-5) -> Tensor:
    """``alpha^2 * mean_n KL(softmax(teacher' / T) || softmax(student' / T))``, ``'`` being the perception.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached. Each has its own statistics of this batch.
        temperature: T, applied to both; there is no ``T^2``.
        alpha: enters **squared**.
        eps: see :func:`luminet_perception`.
    """
    student = F.log_softmax(luminet_perception(student_logits, eps=eps) / temperature, dim=1)
    teacher = F.log_softmax(luminet_perception(teacher_logits.detach(), eps=eps) / temperature, dim=1)
    return F.kl_div(student, teacher, reduction='batchmean', log_target=True) * alpha**2


@DISTILLERS.register_module()
class LumiNet(Distiller):
    """LumiNet: KL of logits standardised per class over the batch (Hossain et al., TMLR 2025, arXiv:2310.03669).

    Args:
        temperature, alpha, eps: see :func:`luminet_loss`; the batch's statistics are those of one process.
        warmup_epochs: the term grows linearly over these epochs: 20 on CIFAR-100, 1 on ImageNet.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, temperature: float = 4.0, alpha: float = 33.0, warmup_epochs: int = 20, eps: float = 1e-5):
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha
        self.warmup_epochs = warmup_epochs
        self.eps = eps

    def forward(self, student, teacher, batch, progress):
        loss = luminet_loss(student['logits'], teacher['logits'], temperature=self.temperature, alpha=self.alpha,
                            eps=self.eps)
        return dict(luminet=progress.warmup(self.warmup_epochs) * loss)
