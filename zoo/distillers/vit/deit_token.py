"""DeiT's distillation token.

Touvron, Cord, Douze, Massa, Sablayrolles, Jegou: Training data-efficient image transformers & distillation through
attention. ICML 2021, arXiv:2012.12877 (equations 2 and 3).
Equal to facebookresearch/deit@7e160fe (losses.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['DeiTToken', 'deit_token_loss']


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _label_part(student_logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    # smoothing of soft labels is in them already
    smoothing = label_smoothing if labels.dim() == 1 else 0.0
    labels = labels if labels.dim() == 1 else _at_least_float32(labels)
    return F.cross_entropy(_at_least_float32(student_logits), labels, label_smoothing=smoothing)


def _teacher_part(dist_logits: Tensor, teacher_logits: Tensor, mode: str, temperature: float) -> Tensor:
    dist_logits, teacher_logits = _at_least_float32(dist_logits), _at_least_float32(teacher_logits.detach())
    if mode == 'hard':
        return F.cross_entropy(dist_logits, teacher_logits.argmax(1))
    if mode != 'soft':
        raise ValueError(f"deit_token's mode is 'hard' or 'soft', not {mode!r}.")
    student, teacher = (F.log_softmax(z / temperature, dim=1) for z in (dist_logits, teacher_logits))
    return temperature**2 * F.kl_div(student, teacher, reduction='sum', log_target=True) / student.numel()


def deit_token_loss(student_logits: Tensor, dist_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *,
                    mode: str = 'hard', alpha: float = 0.5, temperature: float = 1.0,
                    label_smoothing: float = 0.0) -> Tensor:
    """``(1 - alpha)`` times the class token's cross-entropy, plus ``alpha`` times the distillation token's loss.

    Args:
        student_logits, dist_logits: ``(N, K)`` of the class token's and of the distillation token's classifier.
        teacher_logits: ``(N, K)``; no gradient flows into them.
        labels: ``(N,)`` int64, or soft ``(N, K)``.
        mode: ``'hard'``: cross-entropy with the teacher's arg-max; ``'soft'``: tempered KL times ``T^2``, its mean over
            **all** ``N * K`` entries, K times smaller than the usual KL.
        alpha: share of the second part.
        temperature: T of the soft form.
        label_smoothing: of integer labels; soft ones stay as they are.

    Raises:
        ValueError: for another mode.
    """
    return ((1 - alpha) * _label_part(student_logits, labels, label_smoothing)
            + alpha * _teacher_part(dist_logits, teacher_logits, mode, temperature))


@DISTILLERS.register_module()
class DeiTToken(Distiller):
    """DeiTToken: a second token's classifier agrees with the teacher (Touvron et al., ICML 2021, arXiv:2012.12877).

    The student is a network with two classifiers, such as timm's ``deit_*_distilled_*``, ``levit_*`` or
    ``pit_*_distilled_*``; its logits outside of this loss are the mean of both. The label's part of the loss belongs to
    the class token alone and is a term of this method, so set ``task.loss_weight=0``.

    Args:
        mode: ``'hard'`` or ``'soft'``.
        alpha: share of the teacher's part.
        temperature: of the soft form (the paper takes ``alpha=0.1, temperature=3``).
        label_smoothing: of integer labels.
        batch_mean: the soft form's sum is divided by N rather than by N * K (not the paper's code).
        head, dist_head: taps of the two classifiers' logits.

    Raises:
        ValueError: for unknown modes, or a student without the two classifiers.
    """

    def __init__(self, mode: str = 'hard', alpha: float = 0.5, temperature: float = 1.0, label_smoothing: float = 0.0,
                 batch_mean: bool = False, head: str = 'head', dist_head: str = 'head_dist'):
        super().__init__()
        if mode not in ('hard', 'soft'):
            raise ValueError(f"DeiTToken's mode is 'hard' or 'soft', not {mode!r}.")
        if not 0 <= alpha <= 1 or temperature <= 0:
            raise ValueError(f'DeiTToken needs alpha in 0..1 and temperature > 0, not {alpha} and {temperature}.')
        self.mode, self.alpha, self.temperature, self.label_smoothing = mode, alpha, temperature, label_smoothing
        self.batch_mean, self.head, self.dist_head = batch_mean, head, dist_head
        self.needs = Needs(student=(head, dist_head), teacher=('logits',), labels=True)

    def adapt_student(self, student, teacher, shapes):
        for name in (self.head, self.dist_head):
            if name not in shapes.student:
                raise ValueError(f'DeiTToken reads the logits of two classifiers, and {type(student).__name__} has no tap '
                                 f'{name!r}: take a student with a distillation token, such as timm\'s '
                                 'deit_tiny_distilled_patch16_224, or name the taps by head= and dist_head=.')
        return student

    def build(self, shapes):
        for name in (self.head, self.dist_head):
            shape = tuple(shapes.student[name])
            if len(shape) != 2 or shapes.num_classes not in (None, shape[1]):
                raise ValueError(f'DeiTToken needs logits (N, {shapes.num_classes}) at {name!r}, which gives {shape}.')

    def forward(self, student, teacher, batch, progress):
        part = _teacher_part(student[self.dist_head], teacher['logits'], self.mode, self.temperature)
        if self.mode == 'soft' and self.batch_mean:
            part = part * teacher['logits'].shape[1]
        return dict(label=(1 - self.alpha) * _label_part(student[self.head], batch.labels, self.label_smoothing),
                    teacher=self.alpha * part)
