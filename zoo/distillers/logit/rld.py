"""Refined logit distillation.

Sun et al.: Knowledge Distillation with Refined Logits. ICCV 2025, arXiv:2408.07703.
Reference code: zju-SWJ/RLD@d54578f.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels
from .logit_std import standardize_logits

__all__ = ['RLD', 'rld_loss']


def _one_and_rest(logits: Tensor, index: Tensor) -> Tensor:
    """``(N, 2)`` log-probabilities of the class ``index`` ``(N,)`` and of all other classes together."""
    log_probs = F.log_softmax(logits, dim=1)
    one = F.one_hot(index, logits.shape[1]).bool()
    rest = log_probs.masked_fill(one, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([log_probs.gather(1, index[:, None]), rest], 1)


def rld_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 4.0,
             alpha_temperature: float = 1.0, alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    """``alpha * SCD + beta * MCD``: sample confidence and masked correlation distillation.

    SCD, at ``alpha_temperature``, matches the student's pair (label, rest) to the teacher's (its top class, rest).
    MCD, at ``temperature``, is the divergence among the classes that the teacher ranks strictly below the label; 0
    where there are none. Both are multiplied by their temperature squared. Sums of probabilities are taken as
    log-sum-exp, equal to the reference's and finite where these underflow. Half precision is computed in float32.

    Args:
        student_logits, teacher_logits: ``(N, K)``, K >= 2; the mean is over N.
        labels: ``(N,)`` int64.

    Raises:
        ValueError: for fewer than two classes.
    """
    if student_logits.shape[1] < 2:
        raise ValueError(f'rld_loss needs at least 2 classes, got logits {tuple(student_logits.shape)}.')
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.to(dtype)
    scd = F.kl_div(_one_and_rest(student / alpha_temperature, labels),
                   _one_and_rest(teacher / alpha_temperature, teacher.argmax(1)),
                   reduction='batchmean', log_target=True)

    masked = teacher >= teacher.gather(1, labels[:, None])
    # finite, so that two distributions with all classes masked are uniform instead of NaN
    mcd = F.kl_div(F.log_softmax((student / temperature).masked_fill(masked, -1e9), dim=1),
                   F.log_softmax((teacher / temperature).masked_fill(masked, -1e9), dim=1),
                   reduction='batchmean', log_target=True)
    return alpha * alpha_temperature**2 * scd + beta * temperature**2 * mcd


@DISTILLERS.register_module()
class RLD(Distiller):
    """Refined logits: KD corrected where the teacher errs (Sun et al., ICCV 2025, arXiv:2408.07703).

    Args:
        alpha, beta: weights of sample confidence and masked correlation.
        temperature: of the masked correlation.
        alpha_temperature: of the sample confidence; None takes ``temperature`` (the released code's "same-t").
        warmup_epochs: the loss is multiplied by ``min(epoch / warmup_epochs, 1)``, the epoch counted from 1.
        standardize: z-score both logits first (:func:`standardize_logits`); use with ``alpha_temperature=None`` and
            the weight of the standardised loss as the outer ``weight``.
    """
    needs = Needs(student=('logits',), teacher=('logits',), labels=True)

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0,
                 alpha_temperature: float | None = 1.0, warmup_epochs: float = 20, standardize: bool = False):
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.alpha_temperature = temperature if alpha_temperature is None else alpha_temperature
        self.warmup_epochs = warmup_epochs
        self.standardize = standardize

    def build(self, shapes):
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or student < 2:
            raise ValueError(f'RLD needs the same classes, at least 2, on both sides; the student has {student}, '
                             f'the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        student, teacher = student['logits'], teacher['logits']
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        loss = rld_loss(student, teacher, hard_labels(batch, 'RLD'), temperature=self.temperature,
                        alpha_temperature=self.alpha_temperature, alpha=self.alpha, beta=self.beta)
        return dict(rld=progress.warmup(self.warmup_epochs) * loss)
