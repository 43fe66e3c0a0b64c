"""Label assisted distillation, in two stages.

Qiu, Chen, Li, Wan, Xue, Pu: Make a Strong Teacher with Label Assistance: A Novel Knowledge Distillation Approach for Semantic
Segmentation. ECCV 2024, arXiv:2407.13254.
Reference code: skyshoumeng/Label_Assisted_Distillation@cd08406 (train_baseline.py, for VOC).

The teacher sees the noised ground truth as a further channel: :class:`zoo.models.LabelAssistedSegmentor`.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import pool_to_smaller
from .cwd import cwd_loss

__all__ = ['LAD', 'LADTeacher', 'lad_consistency_loss', 'lad_student_loss', 'lad_teacher_loss']


def _cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The mean over the pixels that are not ignored, 0 where there are none; logits resized to the labels' corners."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=True)
    total = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction='sum')
    return total / (labels != ignore_index).sum().clamp(min=1)


def lad_consistency_loss(logits_a: Tensor, logits_b: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise divergence of two paths in both directions, each towards the other without its gradient.

    Args:
        logits_a, logits_b: ``(N, K, h, w)`` of one image batch with two noised label maps.
        temperature: see :func:`zoo.distillers.cwd_loss`.
    """
    return cwd_loss(logits_a, logits_b, temperature=temperature) + cwd_loss(logits_b, logits_a, temperature=temperature)


def lad_teacher_loss(logits_a: Tensor, logits_b: Tensor, labels: Tensor, aux_logits_a: Tensor | None = None,
                     aux_logits_b: Tensor | None = None, *, temperature: float = 4.0, consistency_weight: float = 5.0,
                     aux_weight: float = 0.4, ignore_index: int = -1) -> dict[str, Tensor]:
    """``task``, the cross-entropy of both paths, and ``consistency``, weighted; their sum trains the teacher.

    Half precision is computed in float32. Where every label is ignored, ``task`` is 0.

    Args:
        logits_a, logits_b: ``(N, K, h, w)``, of two paths; resized to the labels.
        labels: ``(N, H, W)`` int64, classes or ``ignore_index``.
        aux_logits_a, aux_logits_b: of an auxiliary head, in ``task`` with ``aux_weight``; None leaves them out.
        temperature, consistency_weight: of :func:`lad_consistency_loss`.
    """
    task = _cross_entropy(logits_a, labels, ignore_index) + _cross_entropy(logits_b, labels, ignore_index)
    for aux in (aux_logits_a, aux_logits_b):
        if aux is not None:
            task = task + aux_weight * _cross_entropy(aux, labels, ignore_index)
    consistency = lad_consistency_loss(logits_a, logits_b, temperature=temperature)
    return dict(task=task, consistency=consistency_weight * consistency)


def lad_student_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor,
                     student_aux_logits: Tensor | None = None, *, temperature: float = 4.0, kd_weight: float = 3.0,
                     aux_weight: float = 0.02, ignore_index: int = -1) -> dict[str, Tensor]:
    """``task``, the cross-entropy, and ``kd``, the channel-wise divergence to the teacher, weighted.

    The paper speaks of standard distillation; the released code takes the channel-wise one. Half precision is computed in
    float32. Where every label is ignored, ``task`` is 0.

    Args:
        student_logits, teacher_logits: ``(N, K, h, w)``; the teacher's carry no gradient.
        labels: ``(N, H, W)`` int64, classes or ``ignore_index``.
        student_aux_logits: of an auxiliary head, in ``task`` with ``aux_weight``; None leaves it out.
        temperature, kd_weight: of the divergence.
    """
    task = _cross_entropy(student_logits, labels, ignore_index)
    if student_aux_logits is not None:
        task = task + aux_weight * _cross_entropy(student_aux_logits, labels, ignore_index)
    return dict(task=task, kd=kd_weight * cwd_loss(student_logits, teacher_logits, temperature=temperature))


def _assisted(net) -> bool:
    return hasattr(net.module, 'compose_input')


@DISTILLERS.register_module()
class LADTeacher(Distiller):
    """LAD, stage 1: two noised label maps, one prediction (Qiu et al., ECCV 2024, arXiv:2407.13254).

    Trains the teacher, which stands in the place of the student and has none of its own: ``model.student`` is a
    ``LabelAssistedSegmentor``, ``model.teacher`` is None. The task's loss is that of the first path; the second path, with a
    noise of its own, adds the same losses of mmseg's heads as ``second`` and the divergence of the two as ``consistency``.

    Args:
        temperature, consistency_weight: of :func:`lad_consistency_loss`.
        second_weight: of the second path's losses; the task's ``loss_weight``, if it has been changed.
    """
    needs = Needs(student=('logits',), labels=True)
    needs_teacher = False

    def __init__(self, temperature: float = 4.0, consistency_weight: float = 5.0, second_weight: float = 1.0):
        super().__init__()
        self.temperature, self.consistency_weight, self.second_weight = temperature, consistency_weight, second_weight
        self._reader = None

    def build(self, shapes):
        if not _assisted(shapes.student_net):
            raise ValueError('LADTeacher trains a network that sees the label map: set model.student.type='
                             'LabelAssistedSegmentor.')
        self._reader = shapes.student_net

    def forward(self, student, teacher, batch, progress):
        taps, losses = self._reader.loss(batch.images, batch.extra['data_samples'], ('logits',))
        second = sum(sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name)
        consistency = lad_consistency_loss(student['logits'], taps['logits'], temperature=self.temperature)
        return dict(second=self.second_weight * second, consistency=self.consistency_weight * consistency)


@DISTILLERS.register_module()
class LAD(Distiller):
    """LAD, stage 2: learn from a teacher that sees the noised labels (Qiu et al., ECCV 2024, arXiv:2407.13254).

    The teacher is a ``LabelAssistedSegmentor`` that :class:`LADTeacher` trained; the student an ordinary segmentor, which
    equals the released one with a fourth channel of zeros. The task's loss is mmseg's; logits of different sizes are
    averaged to the smaller.

    Args:
        temperature: of the channel-wise divergence.
        kd_weight: its weight.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, temperature: float = 4.0, kd_weight: float = 3.0):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'LAD: temperature is positive, got {temperature}.')
        self.temperature, self.kd_weight = temperature, kd_weight

    def build(self, shapes):
        if not _assisted(shapes.teacher_net):
            raise ValueError("LAD's teacher sees the noised labels: set model.teacher.type=LabelAssistedSegmentor with a "
                             'checkpoint of stage 1 (LADTeacher). For an ordinary teacher use CWD, the same loss.')
        if _assisted(shapes.student_net):
            raise ValueError("LAD's student has to do without the labels: give an ordinary segmentor as model.student.")
        own, other = shapes.student['logits'], shapes.teacher['logits']
        if own[1] != other[1]:
            raise ValueError(f'LAD needs the same classes on both sides; the student has {own[1]}, the teacher {other[1]}.')

    def forward(self, student, teacher, batch, progress):
        pair = pool_to_smaller(student['logits'], teacher['logits'].detach())
        return dict(lad=self.kd_weight * cwd_loss(*pair, temperature=self.temperature))
