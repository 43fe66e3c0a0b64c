"""DIST: distillation from a stronger teacher.

Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher. NeurIPS 2022, arXiv:2205.10536.
Reference code: hunto/image_classification_sota@6f7a70a (classification), hunto/DIST_KD@2418f18 (segmentation).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['DIST', 'dist_loss']


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation by row of ``(R, M)``; 1e-8 is added to the product of the norms."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)


def dist_loss(student_logits: Tensor, teacher_logits: Tensor, *, beta: float = 1.0, gamma: float = 1.0,
              temperature: float = 1.0) -> Tensor:
    """``T^2 * (beta * inter + gamma * intra)``: one minus the mean correlation over classes, and over samples.

    ``inter`` correlates the tempered predictions of each sample over the classes, ``intra`` those of each class over
    the samples of the batch. Half precision is computed in float32. For a single sample ``intra`` is 1, without
    gradient.

    Args:
        student_logits, teacher_logits: ``(N, K)``, or ``(N, K, H, W)``, of which each position counts as a sample.
        beta, gamma: weights of ``inter`` and ``intra``.
        temperature: T, applied to both.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.to(dtype)
    if student.dim() == 4:
        student, teacher = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (student, teacher))
    student, teacher = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    inter = 1 - _pearson(student, teacher).mean()
    intra = 1 - _pearson(student.T, teacher.T).mean()
    return temperature**2 * (beta * inter + gamma * intra)


@DISTILLERS.register_module()
class DIST(Distiller):
    """DIST: correlation of predictions by sample and by class (Huang et al., NeurIPS 2022, arXiv:2205.10536).

    The paper's outer weight is 2 for classification (temperature 4 on CIFAR-100, 1 on ImageNet), 1 for segmentation.

    Args:
        beta, gamma, temperature: see :func:`dist_loss`.
        student_tap, teacher_tap: taps of logits ``(N, K)`` or ``(N, K, H, W)``; maps that differ in size are
            average-pooled to the smaller height and width.
    """

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, student_tap: str = 'logits',
                 teacher_tap: str = 'logits'):
        super().__init__()
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature
        self.student_tap, self.teacher_tap = student_tap, teacher_tap
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_tap], shapes.teacher[self.teacher_tap]
        if len(student) not in (2, 4) or len(student) != len(teacher) or student[1] != teacher[1] or student[1] < 2:
            raise ValueError('DIST needs taps (N, K) or (N, K, H, W) with the same K, at least 2, on both sides; the '
                             f"student's {self.student_tap!r} is {tuple(student)}, the teacher's {self.teacher_tap!r} "
                             f'{tuple(teacher)}.')

    def forward(self, student, teacher, batch, progress):
        student, teacher = student[self.student_tap], teacher[self.teacher_tap]
        if student.shape[2:] != teacher.shape[2:]:
            size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:])]
            student, teacher = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
        return dict(dist=dist_loss(student, teacher, beta=self.beta, gamma=self.gamma, temperature=self.temperature))
