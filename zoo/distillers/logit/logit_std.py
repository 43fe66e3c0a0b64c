"""Logit standardization.

Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation. CVPR 2024, arXiv:2403.01427.
Reference code: sunshangquan/logit-standardization-KD@f6e5aa5.
"""
import torch
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels
from .dkd import dkd_loss
from .kd import kd_loss

__all__ = ['LogitStd', 'logit_std_dkd_loss', 'logit_std_loss', 'standardize_logits']


def standardize_logits(logits: Tensor, *, eps: float = 1e-7) -> Tensor:
    """The z-score of each sample's logits over the classes: ``(x - mean) / (eps + std)``, std with ``K - 1``.

    A pre-process for any logit loss, whose temperature then is in units of the standard deviation. Gradients flow
    through mean and std. A sample whose logits are all equal (a zero-initialised head) becomes zeros without gradient,
    which in the reference is of size ``1 / eps``.

    Args:
        logits: ``(..., K)``, K >= 2.

    Returns:
        Of the same shape; float32 where the input is half precision.

    Raises:
        ValueError: for fewer than two classes.
    """
    if logits.shape[-1] < 2:
        raise ValueError(f'standardize_logits needs at least 2 classes, got logits {tuple(logits.shape)}.')
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    constant = logits.amax(-1, keepdim=True) == logits.amin(-1, keepdim=True)
    scores = (logits - logits.mean(-1, keepdim=True)) / (eps + logits.std(-1, keepdim=True))
    return scores.masked_fill(constant, 0.0)


def logit_std_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """:func:`kd_loss` of the standardised logits; ``T^2`` with the base temperature.

    Args:
        student_logits, teacher_logits: ``(N, K)``.
        temperature: the base temperature, in standard deviations.
    """
    return kd_loss(standardize_logits(student_logits), standardize_logits(teacher_logits), temperature=temperature)


def logit_std_dkd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 2.0,
                       alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    """:func:`dkd_loss` of the standardised logits.

    Args:
        student_logits, teacher_logits: ``(N, K)``.
        labels: ``(N,)`` int64.
        temperature: the base temperature, in standard deviations.
        alpha, beta: of the target-class and the non-target-class part.
    """
    return dkd_loss(standardize_logits(student_logits), standardize_logits(teacher_logits), labels,
                    temperature=temperature, alpha=alpha, beta=beta)


@DISTILLERS.register_module()
class LogitStd(Distiller):
    """Logit standardization: KD or DKD on z-scored logits (Sun et al., CVPR 2024, arXiv:2403.01427).

    The paper's ``kd_weight`` is the outer ``weight`` (9 for CIFAR-100), with a cross-entropy of weight 0.1 beside KD
    and 1 beside DKD. Multi-level KD has its own switch: ``MLKD(standardize=True)``.

    Args:
        base: ``'kd'`` or ``'dkd'``.
        temperature: the base temperature, in standard deviations.
        alpha, beta: see :func:`logit_std_dkd_loss`; unused by ``'kd'``.
        warmup_epochs: the loss is multiplied by ``min(epoch / warmup_epochs, 1)``; None means 20 for ``'dkd'``, else 0.
    """

    def __init__(self, base: str = 'kd', temperature: float = 2.0, alpha: float = 1.0, beta: float = 8.0,
                 warmup_epochs: float | None = None):
        super().__init__()
        if base not in ('kd', 'dkd'):
            raise ValueError(f"LogitStd: base is 'kd' or 'dkd', not {base!r}.")
        self.base = base
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta
        self.warmup_epochs = warmup_epochs if warmup_epochs is not None else 20 * (base == 'dkd')
        self.needs = Needs(student=('logits',), teacher=('logits',), labels=base == 'dkd')

    def build(self, shapes):
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or student < 2:
            raise ValueError(f'LogitStd needs the same classes, at least 2, on both sides; the student has {student}, '
                             f'the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        if self.base == 'kd':
            loss = logit_std_loss(student['logits'], teacher['logits'], temperature=self.temperature)
        else:
            loss = logit_std_dkd_loss(student['logits'], teacher['logits'], hard_labels(batch, 'LogitStd(base="dkd")'),
                                      temperature=self.temperature, alpha=self.alpha, beta=self.beta)
        return dict(logit_std=progress.warmup(self.warmup_epochs) * loss)
