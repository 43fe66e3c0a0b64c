"""Multi-level logit distillation.

Jin, Wang, Lin: Multi-Level Logit Distillation. CVPR 2023, https://github.com/Jin-Ying/Multi-Level-Logit-Distillation.
Reference code: Jin-Ying/Multi-Level-Logit-Distillation@5ee473f; with standardised logits
sunshangquan/logit-standardization-KD@f6e5aa5.

The paper describes masks by sample and by class. In the released code they act only as scalar factors, and two terms of
the strong view read the weak one: followed here, since the reported results rest on it.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels
from .kd import kd_loss
from .logit_std import standardize_logits

__all__ = ['MLKD', 'mlkd_loss']


def _share_up_to_median(values: Tensor) -> Tensor:
    """The share of the entries of ``(M,)`` that are at most the median (between the two middle ones for even M)."""
    return (values <= values.quantile(0.5)).to(values.dtype).mean()


def mlkd_loss(student_logits_weak: Tensor, student_logits_strong: Tensor, teacher_logits_weak: Tensor,
              teacher_logits_strong: Tensor, *, temperature: float = 4.0,
              standardize: bool = False) -> dict[str, Tensor]:
    """The instance (``kd``), class (``cc``) and batch (``bc``) level, without their common weight.

    Each level is summed over the temperatures ``temperature, 3, 5, 2, 6``. ``cc`` compares the ``K x K`` products of
    the weak view's predictions, divided by K; ``bc`` the ``N x N`` products, divided by N. The weak view's ``kd`` and
    ``bc`` are multiplied by the share of samples whose teacher confidence is at most the median, ``cc`` by that of
    classes. Half precision is computed in float32.

    Args:
        student_logits_weak, student_logits_strong, teacher_logits_weak, teacher_logits_strong: ``(N, K)``; the
            teacher's carry no gradient.
        temperature: the first of the five temperatures.
        standardize: ``kd`` on z-scored logits (:func:`standardize_logits`); ``cc`` and ``bc`` read raw logits always.
    """
    dtype = torch.promote_types(student_logits_weak.dtype, torch.float32)
    student_weak, student_strong = student_logits_weak.to(dtype), student_logits_strong.to(dtype)
    teacher_weak, teacher_strong = teacher_logits_weak.detach().to(dtype), teacher_logits_strong.detach().to(dtype)
    temperatures = (temperature, 3.0, 5.0, 2.0, 6.0)

    confidence = teacher_weak.softmax(1)
    sample_share = _share_up_to_median(confidence.amax(1))
    class_share = _share_up_to_median(confidence.sum(0))

    views = (student_weak, teacher_weak, student_strong, teacher_strong)
    sw, tw, ss, ts = (standardize_logits(v) for v in views) if standardize else views
    weak = {t: kd_loss(sw, tw, temperature=t) for t in temperatures}
    kd = sample_share * sum(weak[t] for t in temperatures)
    kd = kd + sum(kd_loss(ss, ts, temperature=t) for t in temperatures[:3])
    kd = kd + weak[2.0] + weak[6.0]  # on the weak view, as released

    cc, bc = 0.0, 0.0
    for t in temperatures:
        student, teacher = (student_weak / t).softmax(1), (teacher_weak / t).softmax(1)
        cc = cc + F.mse_loss(student.T @ student, teacher.T @ teacher, reduction='sum') / student.shape[1]
        bc = bc + F.mse_loss(student @ student.T, teacher @ teacher.T, reduction='sum') / student.shape[0]
    return dict(kd=kd, cc=class_share * cc, bc=sample_share * bc)


@DISTILLERS.register_module()
class MLKD(Distiller):
    """Multi-level logit distillation: instance, class and batch level on two views (Jin et al., CVPR 2023).

    The paper's total is ``0.1 * (CE(weak) + CE(strong)) + 0.9 * (kd + cc + bc)``: the weak view's cross-entropy is the
    task's (``task.loss_weight = 0.1``).

    Args:
        temperature, standardize: see :func:`mlkd_loss`.
        kd_weight: of the three levels.
        strong_ce_weight: of the strong view's cross-entropy with the labels; 0 trains without labels.
    """

    def __init__(self, temperature: float = 4.0, standardize: bool = False, kd_weight: float = 0.9,
                 strong_ce_weight: float = 0.1):
        super().__init__()
        self.temperature = temperature
        self.standardize = standardize
        self.kd_weight = kd_weight
        self.strong_ce_weight = strong_ce_weight
        views = ('logits', 'logits@strong')
        self.needs = Needs(student=views, teacher=views, labels=bool(strong_ce_weight))

    def build(self, shapes):
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or student < 2:
            raise ValueError(f'MLKD needs the same classes, at least 2, on both sides; the student has {student}, '
                             f'the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        terms = mlkd_loss(student['logits'], student['logits@strong'], teacher['logits'], teacher['logits@strong'],
                          temperature=self.temperature, standardize=self.standardize)
        terms = {name: self.kd_weight * value for name, value in terms.items()}
        if self.strong_ce_weight:
            loss = F.cross_entropy(student['logits@strong'], hard_labels(batch, 'MLKD'))
            terms['ce_strong'] = self.strong_ce_weight * loss
        return terms
