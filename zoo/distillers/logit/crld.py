"""Cross-view consistency regularised logit distillation.

Zhang, Liu, Cai, Ma: Cross-View Consistency Regularisation for Knowledge Distillation. ACM MM 2024, arXiv:2412.16493.
Reference code: arcaninez/CRLD@fe42473.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels

__all__ = ['CRLD', 'crld_loss']


def crld_loss(student_logits_weak: Tensor, student_logits_strong: Tensor, teacher_logits_weak: Tensor,
              teacher_logits_strong: Tensor, *, temperature: float = 4.0, tau_weak: float = 0.9,
              tau_strong: float = 0.2) -> dict[str, Tensor]:
    """Tempered KL within a view (``within``) and across the views (``cross``) where the teacher is sure.

    Both within-view terms count where the teacher's largest probability on the weak view, at temperature 1, reaches
    ``tau_weak``; both cross terms where that on the strong view reaches ``tau_strong``. The mean is over all N. Half
    precision is computed in float32.

    Args:
        student_logits_weak, student_logits_strong, teacher_logits_weak, teacher_logits_strong: ``(N, K)``; the
            teacher's carry no gradient.
        temperature: T of all divergences, which are multiplied by ``T^2``.
        tau_weak, tau_strong: thresholds; 0 lets every sample count.
    """
    dtype = torch.promote_types(student_logits_weak.dtype, torch.float32)
    teacher_weak, teacher_strong = teacher_logits_weak.detach().to(dtype), teacher_logits_strong.detach().to(dtype)
    sure_weak = (teacher_weak.softmax(1).amax(1) >= tau_weak).to(dtype)
    sure_strong = (teacher_strong.softmax(1).amax(1) >= tau_strong).to(dtype)
    sw, ss, tw, ts = (F.log_softmax(x.to(dtype) / temperature, dim=1) for x in (
        student_logits_weak, student_logits_strong, teacher_weak, teacher_strong))

    def divergence(student: Tensor, teacher: Tensor) -> Tensor:
        return F.kl_div(student, teacher, reduction='none', log_target=True).sum(1) * temperature**2

    return dict(within=(sure_weak * (divergence(sw, tw) + divergence(ss, ts))).mean(),
                cross=(sure_strong * (divergence(ss, tw) + divergence(sw, ts))).mean())


@DISTILLERS.register_module()
class CRLD(Distiller):
    """Cross-view consistency: KL within and across two views (Zhang et al., ACM MM 2024, arXiv:2412.16493).

    The weak view's cross-entropy is the task's (``task.loss_weight = 1``).

    Args:
        temperature, tau_weak, tau_strong: see :func:`crld_loss`.
        within_weight, cross_weight: of the two terms.
        strong_ce_weight: of the strong view's cross-entropy with the labels; 0 trains without labels.
    """

    def __init__(self, temperature: float = 4.0, tau_weak: float = 0.9, tau_strong: float = 0.2,
                 within_weight: float = 2.0, cross_weight: float = 0.5, strong_ce_weight: float = 1.0):
        super().__init__()
        self.temperature = temperature
        self.tau_weak, self.tau_strong = tau_weak, tau_strong
        self.term_weights = dict(within=within_weight, cross=cross_weight)
        self.strong_ce_weight = strong_ce_weight
        views = ('logits', 'logits@strong')
        self.needs = Needs(student=views, teacher=views, labels=bool(strong_ce_weight))

    def build(self, shapes):
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or student < 2:
            raise ValueError(f'CRLD needs the same classes, at least 2, on both sides; the student has {student}, '
                             f'the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        terms = crld_loss(student['logits'], student['logits@strong'], teacher['logits'], teacher['logits@strong'],
                          temperature=self.temperature, tau_weak=self.tau_weak, tau_strong=self.tau_strong)
        terms = {name: self.term_weights[name] * value for name, value in terms.items()}
        if self.strong_ce_weight:
            loss = F.cross_entropy(student['logits@strong'], hard_labels(batch, 'CRLD'))
            terms['ce_strong'] = self.strong_ce_weight * loss
        return terms
