"""Delta knowledge distillation.

Cao, Kang, Xing, Jiang: Delta Knowledge Distillation for Large Language Models. arXiv:2509.14526.
No reference code: our reading of the paper; the shift operator (a sum of logits) is not verified.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models import build_network
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['DeltaKD', 'delta_kd_loss']
NO_TABLE = 'the paper reports on language tasks'


def delta_kd_loss(student_logits: Tensor, teacher_logits: Tensor, student_base_logits: Tensor,
                  teacher_base_logits: Tensor, *, temperature: float = 1.0, alpha: float = 1.0) -> Tensor:
    """``T^2 * mean_n KL(softmax(z / T) || softmax(student / T))``, z the shifted base: a sum of logits.

    ``z = student_base + alpha * (teacher - teacher_base)``.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits, student_base_logits, teacher_base_logits: ``(N, K)`` of the tuned teacher and of both networks
            before tuning, over the same classes; detached.
        temperature: T, applied to both.
        alpha: how much of the teacher's change is passed on.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    with torch.no_grad():
        change = teacher_logits.to(dtype) - teacher_base_logits.to(dtype)
        target = F.log_softmax((student_base_logits.to(dtype) + alpha * change) / temperature, dim=1)
    student = F.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    return F.kl_div(student, target, reduction='batchmean', log_target=True) * temperature**2


@DISTILLERS.register_module()
class DeltaKD(Distiller):
    """Delta-KD: distil the change that tuning made in the teacher's logits (Cao et al., 2025, arXiv:2509.14526).

    Args:
        student_base, teacher_base: the networks before tuning, over the task's classes: a config for
            ``zoo.models.build_network`` (usually with its ``checkpoint``), or a module. They are frozen, in eval mode,
            and no part of the state dict. A module gives logits ``(N, K)`` for ``batch.images``.
        temperature, alpha: see :func:`delta_kd_loss`.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, student_base: dict | str | nn.Module, teacher_base: dict | str | nn.Module,
                 temperature: float = 1.0, alpha: float = 1.0):
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha
        # Tuples hide the networks from parameters(), train() and the state dict.
        self._configs = (student_base, teacher_base)
        self._bases: tuple[nn.Module, ...] = ()

    def build(self, shapes):
        num_classes = shapes.student['logits'][-1]
        bases = tuple(build_network(config, num_classes=num_classes) for config in self._configs)
        self._bases = tuple(net.eval().requires_grad_(False) for net in bases)

    def _apply(self, fn: Callable, recurse: bool = True):
        for net in self._bases:
            net._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, student, teacher, batch, progress):
        with torch.no_grad():
            student_base, teacher_base = (net(batch.images) for net in self._bases)
        if not student_base.shape == teacher_base.shape == student['logits'].shape:
            raise ValueError(f'DeltaKD needs the same classes in all four networks; the student gives logits '
                             f"{tuple(student['logits'].shape)}, student_base {tuple(student_base.shape)}, "
                             f'teacher_base {tuple(teacher_base.shape)}.')
        return dict(delta_kd=delta_kd_loss(student['logits'], teacher['logits'], student_base, teacher_base,
                                           temperature=self.temperature, alpha=self.alpha))
