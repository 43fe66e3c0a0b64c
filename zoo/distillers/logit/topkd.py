"""Top-scaled knowledge distillation.

Wang, Zhou: TopKD: Top-scaled Knowledge Distillation. arXiv:2508.04539, 2025.
No reference code: our reading of the paper's abstract and of a third-party summary with its four main equations. Ours,
marked below, are the scaling's dependence on rank, its factors, the normalisation of the contrastive part and all
weights. Experimental until the authors' code appears.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels

__all__ = ['TopKD', 'topk_scale', 'topkd_loss']


def topk_scale(teacher_logits: Tensor, labels: Tensor, *, k: int = 5, scale: float = 0.5, gt_scale: float = 1.0,
               bias: float = 0.1) -> Tensor:
    """The teacher's logits with the k largest enlarged, and the label's where the teacher errs.

    ``z' = w * z + delta`` on the scaled classes: ``w = 1 + scale * (k - rank) / k`` for the k largest (ours: linear in
    the rank, from 0), ``w = 1 + gt_scale`` for the label of a sample that the teacher gets wrong (ours: the value), and
    ``delta = bias`` times the gap between the means of the k largest and of the other logits (ours: the factor). Can be
    put in front of any logit loss. A negative logit is lowered by ``w > 1``.

    Args:
        teacher_logits: ``(N, K)``; of equal logits the lower class ranks first.
        labels: ``(N,)`` int64.
        k: classes to enlarge, from 1 to K - 1.

    Returns:
        ``(N, K)``, float32 where the input is half precision.

    Raises:
        ValueError: for another k.
    """
    num_classes = teacher_logits.shape[1]
    if not 1 <= k < num_classes:
        raise ValueError(f'topk_scale needs k from 1 to {num_classes - 1} for {num_classes} classes, got {k}.')
    logits = teacher_logits.to(torch.promote_types(teacher_logits.dtype, torch.float32))
    values, order = logits.sort(dim=1, descending=True, stable=True)
    rank_weights = 1 + scale * torch.arange(k, 0, -1, dtype=logits.dtype, device=logits.device) / k
    weights = torch.ones_like(logits).scatter(1, order[:, :k], rank_weights.expand(len(logits), k))
    scaled = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order[:, :k], True)

    wrong_label = F.one_hot(labels, num_classes).bool() & (order[:, :1] != labels[:, None])
    weights = weights.masked_fill(wrong_label, 1 + gt_scale)
    delta = bias * (values[:, :k].mean(1, keepdim=True) - values[:, k:].mean(1, keepdim=True))
    return torch.where(scaled | wrong_label, weights * logits + delta, logits)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine by row, the product of the norms clamped from below at 1e-8."""
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-8)


def topkd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, k: int = 5, alpha: float = 1.0,
               beta: float = 1.0, temperature: float = 0.1, scale: float = 0.5, gt_scale: float = 1.0,
               bias: float = 0.1, normalize: bool = True) -> dict[str, Tensor]:
    """The contrastive and the top-scaled decoupled part, each without a weight.

    ``tdl``: one minus the cosines of the student's logits with the teacher's scaled ones, within the k largest (times
    ``alpha``), the k smallest (times ``beta``) and the remaining of the teacher's scaled logits; it goes from
    ``-(alpha + beta)`` upwards. ``contrastive``: the symmetric cross-entropy that finds each sample's partner in the
    batch by the product of student and teacher logits (0 for a batch of one).

    Args:
        student_logits, teacher_logits: ``(N, K)`` with ``K > 2 k``; the teacher's carry no gradient.
        labels: ``(N,)`` int64.
        k, scale, gt_scale, bias: see :func:`topk_scale`.
        temperature: divides the products of the contrastive part.
        normalize: divide each logit vector by its L2 norm in the contrastive part (ours).

    Raises:
        ValueError: where ``2 k >= K``.
    """
    num_classes = student_logits.shape[1]
    if 2 * k >= num_classes:
        raise ValueError(f'topkd_loss needs more than 2 k = {2 * k} classes, got {num_classes}: lower k.')
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.detach().to(dtype)

    scaled = topk_scale(teacher, labels, k=k, scale=scale, gt_scale=gt_scale, bias=bias)
    scaled, order = scaled.sort(dim=1, descending=True, stable=True)
    sizes = [k, num_classes - 2 * k, k]
    groups = zip(student.gather(1, order).split(sizes, 1), scaled.split(sizes, 1))
    top, rest, bottom = (_cosine(a, b) for a, b in groups)
    tdl = 1 - (alpha * top + beta * bottom + rest).mean()

    if normalize:
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    similarity = student @ teacher.T / temperature
    partner = torch.arange(len(student), device=student.device)
    contrastive = (F.cross_entropy(similarity, partner) + F.cross_entropy(similarity.T, partner)) / 2
    return dict(contrastive=contrastive, tdl=tdl)


@DISTILLERS.register_module()
class TopKD(Distiller):
    """Top-scaled KD: directions of the largest, smallest and other logits (Wang and Zhou, 2025, arXiv:2508.04539).

    Args:
        k: how many logits count as largest; the paper finds 3, 5 or 10 best. ``K > 2 k`` is required.
        alpha, beta, temperature, scale, gt_scale, bias, normalize: see :func:`topkd_loss`.
        contrastive_weight, tdl_weight: of the two terms.
    """
    needs = Needs(student=('logits',), teacher=('logits',), labels=True)

    def __init__(self, k: int = 5, alpha: float = 1.0, beta: float = 1.0, temperature: float = 0.1, scale: float = 0.5,
                 gt_scale: float = 1.0, bias: float = 0.1, normalize: bool = True, contrastive_weight: float = 1.0,
                 tdl_weight: float = 1.0):
        super().__init__()
        self.k = k
        self.options = dict(alpha=alpha, beta=beta, temperature=temperature, scale=scale, gt_scale=gt_scale, bias=bias,
                            normalize=normalize)
        self.term_weights = dict(contrastive=contrastive_weight, tdl=tdl_weight)

    def build(self, shapes):
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or not 1 <= self.k < student / 2:
            raise ValueError(f'TopKD(k={self.k}) needs k >= 1 and the same classes, more than {2 * self.k}, on both '
                             f'sides; the student has {student}, the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        terms = topkd_loss(student['logits'], teacher['logits'], hard_labels(batch, 'TopKD'), k=self.k, **self.options)
        return {name: self.term_weights[name] * value for name, value in terms.items()}
