"""Decoupled knowledge distillation.

Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation. CVPR 2022, arXiv:2203.08679.
Reference code: megvii-research/mdistiller@a08d46f.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels
from ..dense_heads import DenseHead, refuse_unlike

__all__ = ['DKD', 'dkd_loss']


def _target_and_rest(log_probs: Tensor, labels: Tensor) -> Tensor:
    """``(N, 2)`` log-probabilities of the label and of all other classes together."""
    target = F.one_hot(labels, log_probs.shape[1]).bool()
    rest = log_probs.masked_fill(target, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([log_probs.gather(1, labels[:, None]), rest], 1)


def dkd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 4.0,
             alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    """``alpha * TCKD + beta * NCKD``: target-class and non-target-class distillation, both times ``T^2``.

    TCKD is the divergence of the pair (label, all other classes), NCKD that of the distributions among the other
    classes. The sums of probabilities are taken as log-sum-exp, which equals the logarithm of the reference's plain
    sums and stays finite where these underflow. Half precision is computed in float32.

    Args:
        student_logits, teacher_logits: ``(N, K)``, K >= 2; the mean is over N.
        labels: ``(N,)`` int64.
        temperature: T, applied to both.
        alpha, beta: weights of the two parts.

    Raises:
        ValueError: for fewer than two classes.
    """
    if student_logits.shape[1] < 2:
        raise ValueError(f'dkd_loss needs at least 2 classes, got logits {tuple(student_logits.shape)}.')
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype) / temperature, teacher_logits.to(dtype) / temperature

    tckd = F.kl_div(_target_and_rest(F.log_softmax(student, dim=1), labels),
                    _target_and_rest(F.log_softmax(teacher, dim=1), labels), reduction='batchmean', log_target=True)
    # finite, unlike -inf, so that the target's 0 * log 0 is 0 and has no NaN gradient
    removed = 1000.0 * F.one_hot(labels, student.shape[1]).to(dtype)
    nckd = F.kl_div(F.log_softmax(student - removed, dim=1), F.log_softmax(teacher - removed, dim=1),
                    reduction='batchmean', log_target=True)
    return (alpha * tckd + beta * nckd) * temperature**2


@DISTILLERS.register_module()
class DKD(Distiller):
    """Decoupled knowledge distillation: target and other classes apart (Zhao et al., CVPR 2022, arXiv:2203.08679).

    Args:
        alpha, beta: weights of the target-class and the non-target-class part (the paper's beta goes from 0.5 to 8).
        temperature: of both networks.
        warmup_epochs: the loss is multiplied by ``min(epoch / warmup_epochs, 1)``, the epoch counted from 1.
        at_positives: for the dense head of a detector: the class scores at the places where the student's head assigns an
            object are the logits, its class is the label. That is our reading; the paper has two-stage detectors.
    """
    needs = Needs(student=('logits',), teacher=('logits',), labels=True)

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, warmup_epochs: float = 20,
                 at_positives: bool = False):
        super().__init__()
        self.at_positives = at_positives
        if at_positives:
            self.needs = Needs(student=('head.cls_scores', 'head.targets'), teacher=('head.cls_scores',))
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.warmup_epochs = warmup_epochs

    def build(self, shapes):
        if self.at_positives:
            self.head = DenseHead(shapes.student_net.module, 'DKD', 'student')
            refuse_unlike(self.head, DenseHead(shapes.teacher_net.module, 'DKD', 'teacher'), 'DKD', shapes)
            if self.head.num_classes < 2:
                raise ValueError('DKD needs at least 2 classes, and this detector has 1.')
            return
        student, teacher = shapes.student['logits'][1], shapes.teacher['logits'][1]
        if student != teacher or student < 2:
            raise ValueError(f'DKD needs the same classes, at least 2, on both sides; the student has {student}, '
                             f'the teacher {teacher}.')

    def forward(self, student, teacher, batch, progress):
        if self.at_positives:
            scores, classes = student['head.cls_scores'], self.head.num_classes
            targets = self.head.targets(student['head.targets'], len(scores[0]))
            logits, labels = self.head.at_positives(scores, targets, classes)
            teacher_logits, _ = self.head.at_positives(teacher['head.cls_scores'], targets, classes)
            if not len(labels):
                return dict(dkd=logits.sum())  # 0
        else:
            logits, teacher_logits, labels = student['logits'], teacher['logits'], hard_labels(batch, 'DKD')
        loss = dkd_loss(logits, teacher_logits, labels, temperature=self.temperature, alpha=self.alpha, beta=self.beta)
        return dict(dkd=progress.warmup(self.warmup_epochs) * loss)
