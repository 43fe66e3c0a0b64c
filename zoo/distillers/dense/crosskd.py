"""Cross-head distillation.

Wang, Chen, Zheng, Li, Cheng, Hou: CrossKD: Cross-Head Knowledge Distillation for Dense Object Detection. CVPR 2024,
arXiv:2306.11369.
Reference code: jbwang1997/CrossKD@87e156a4 (non-commercial licence; written anew here from the formulas).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..boxes import EPS32, aligned_overlaps, flat_map, reduced
from ..dense_heads import DenseHead, process_mean, refuse_unlike
from ..levels import channel_statistics

__all__ = ['CrossKD', 'crosskd_align_scale', 'crosskd_box_loss', 'crosskd_cls_loss', 'crosskd_gfl_loss']


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def crosskd_align_scale(student_feat: Tensor, teacher_feat: Tensor, *, eps: float = 1e-6) -> Tensor:
    """The student's map with the teacher's mean and deviation in each channel, over batch and positions.

    Args:
        student_feat, teacher_feat: ``(N, C, H, W)`` of one shape; gradient flows through the student's statistics.
        eps: added to the student's deviation.
    """
    mean, std = channel_statistics(student_feat)
    other_mean, other_std = channel_statistics(teacher_feat)
    return (student_feat - mean) / (std + eps) * other_std + other_mean


def crosskd_cls_loss(student_logits: Tensor, teacher_logits: Tensor, label_weights: Tensor | None = None, *,
                     beta: float = 1.0, avg_factor: float | Tensor | None = None) -> Tensor:
    """Quality focal loss with the teacher's scores as targets: ``BCE * |p_t - p_s|^beta``, the factor not detached.

    Args:
        student_logits, teacher_logits: ``(M, K)``; the student's are those of the cross-head; the teacher's are detached.
        label_weights: ``(M,)``, or None for ones.
        avg_factor: what the sum is divided by; None: the mean over all elements.
    """
    student, target = _exact(student_logits), _exact(teacher_logits).detach().sigmoid()
    loss = F.binary_cross_entropy_with_logits(student, target, reduction='none')
    loss = loss * (student.sigmoid() - target).abs().pow(beta)
    return reduced(loss, None if label_weights is None else label_weights[:, None], avg_factor)


def _teacher_weight(teacher_logits: Tensor, label_weights: Tensor | None) -> Tensor:
    """The teacher's best score ``(M,)``, 0 where nothing is learnt."""
    weight = _exact(teacher_logits).detach().amax(1).sigmoid()
    return weight if label_weights is None else weight * (label_weights != 0)


def crosskd_box_loss(student_boxes: Tensor, teacher_boxes: Tensor, teacher_logits: Tensor,
                     label_weights: Tensor | None = None, *, mode: str = 'giou', avg_factor: float | Tensor,
                     eps: float = 1e-6) -> Tensor:
    """Overlap loss of decoded boxes, weighted by the teacher's best score; 0 where no weight is above 0.

    Args:
        student_boxes, teacher_boxes: ``(M, 4)`` xyxy; the student's are those of the cross-head.
        teacher_logits: ``(M, K)``.
        label_weights: ``(M,)``, or None for ones.
        mode: ``'giou'``: ``1 - GIoU``; ``'iou'``: ``-log(max(IoU, eps))`` (FCOS).
        avg_factor: what the sum is divided by.
        eps: the least union and enclosing area, and the least IoU.

    Raises:
        ValueError: for another mode.
    """
    if mode not in ('giou', 'iou'):
        raise ValueError(f"mode is 'giou' or 'iou', not {mode!r}.")
    overlaps = aligned_overlaps(_exact(student_boxes), _exact(teacher_boxes).detach(), mode=mode, eps=eps)
    loss = 1 - overlaps if mode == 'giou' else -overlaps.clamp(min=eps).log()
    return reduced(loss, _teacher_weight(teacher_logits, label_weights), avg_factor)


def crosskd_gfl_loss(student_logits: Sequence[Tensor], teacher_logits: Sequence[Tensor],
                     student_bbox_logits: Sequence[Tensor], teacher_bbox_logits: Sequence[Tensor],
                     label_weights: Sequence[Tensor], *, reg_max: int = 16, avg_factor: float | Tensor,
                     temperature: float = 1.0, cls_weight: float = 1.0, reg_weight: float = 4.0) -> dict[str, Tensor]:
    """Both terms of a GFL head over all levels: scores, and the distributions of the sides.

    Args:
        student_logits, teacher_logits: lists of ``(N, K, H, W)``; the student's are those of the cross-head.
        student_bbox_logits, teacher_bbox_logits: lists of ``(N, 4*(reg_max+1), H, W)``.
        label_weights: list of ``(N, H*W)``.
        avg_factor: normaliser of the class term; the box term is divided by the sum of its own weights on this process.
        temperature: of the sides.
        cls_weight, reg_weight: of the terms, already in what is returned.

    Returns:
        ``cls`` and ``reg``, scalars.
    """
    cls, reg, total_weight = 0.0, 0.0, 0.0
    for s, t, s_box, t_box, weights in zip(student_logits, teacher_logits, student_bbox_logits, teacher_bbox_logits,
                                           label_weights):
        s, t, weights = flat_map(s, s.shape[1]), flat_map(t, t.shape[1]), weights.reshape(-1)
        cls = cls + crosskd_cls_loss(s, t, weights, avg_factor=avg_factor)
        bins = 4 * (reg_max + 1)
        own, other = (F.log_softmax(flat_map(_exact(x), bins).reshape(-1, 4, reg_max + 1) / temperature, dim=2)
                      for x in (s_box, t_box.detach()))
        sides = F.kl_div(own, other, reduction='none', log_target=True).sum(2) * temperature**2
        weight = _teacher_weight(t, weights)
        reg = reg + (sides * weight[:, None]).sum() / (4 + EPS32)
        total_weight = total_weight + weight.sum()
    # where nothing is learnt anywhere, both sums are 0
    return dict(cls=cls_weight * cls, reg=reg_weight * reg / torch.where(total_weight > 0, total_weight, 1))


@DISTILLERS.register_module()
class CrossKD(Distiller):
    """CrossKD: student features through the rest of the teacher's head (Wang et al., CVPR 2024, arXiv:2306.11369).

    Works on GFL, ATSS, RetinaNet and FCOS. The student's own predictions answer to the labels alone; the weights below are
    GFL's, and those of the other heads follow by ``reg_weight=1`` (RetinaNet, ATSS) or ``cut=2, cls_weight=0.4,
    reg_weight=0.75`` (FCOS). With PKD beside it, that has weight 6 and ``levels=(0, 1, 2, 3, 4)``.

    Args:
        cut: convolutions of each tower that the student runs, with 0 the pyramid is handed over.
        cls_weight, reg_weight: of classes and boxes.
        center_weight: of ATSS's centreness.
        temperature: of GFL's box sides.
    """

    def __init__(self, cut: int = 3, cls_weight: float = 1.0, reg_weight: float = 4.0, center_weight: float = 1.0,
                 temperature: float = 1.0):
        super().__init__()
        if cut < 0:
            raise ValueError(f'CrossKD: cut counts convolutions of the head from 0, got {cut}.')
        self.cut, self.cls_weight, self.reg_weight, self.center_weight = cut, cls_weight, reg_weight, center_weight
        self.temperature = temperature
        # what goes into the activation is what comes before it
        self.held = tuple(f'bbox_head.{tower}.{cut - 1}.activate:input' for tower in ('cls_convs', 'reg_convs')) if cut else (
            'neck',)
        self.needs = Needs(student=(*self.held, 'head.targets'), teacher=(*self.held, 'head.cls_scores', 'head.bbox_preds'))

    def _keep_maps(self, detector: nn.Module, side: str) -> None:
        """Activations behind the cut must not overwrite the maps that are read in front of them."""
        head = DenseHead(detector, 'CrossKD', side).module
        for tower in (head.cls_convs, head.reg_convs):
            if len(tower) < self.cut:
                raise ValueError(f"CrossKD: cut={self.cut}, but the {side}'s head has {len(tower)} convolutions a tower.")
            if self.cut and hasattr(tower[self.cut - 1].activate, 'inplace'):
                tower[self.cut - 1].activate.inplace = False

    def adapt_student(self, student, teacher, shapes):
        self._keep_maps(student, 'student')
        return student

    def adapt_teacher(self, teacher):
        self._keep_maps(teacher, 'teacher')

    def build(self, shapes):
        own = DenseHead(shapes.student_net.module, 'CrossKD', 'student')
        self.head = DenseHead(shapes.teacher_net.module, 'CrossKD', 'teacher')
        self.own = own
        refuse_unlike(own, self.head, 'CrossKD', shapes, reg_max=True)
        for name in self.held:
            for s, t in zip(shapes.student[name], shapes.teacher[name]):
                if s[1:] != t[1:]:
                    raise ValueError(f"CrossKD feeds the student's {name!r} to the teacher's head: they need one shape, and "
                                     f'a level is {tuple(s[1:])} and {tuple(t[1:])}; set feat_channels alike.')
        if own.kind == 'atss':
            self.needs = Needs(student=self.needs.student, teacher=(*self.needs.teacher, 'head.centernesses'))

    def _cross(self, student: dict, teacher: dict) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Scores, boxes and centreness (or none) of the teacher's head on the student's maps, level by level."""
        head, towers = self.head.module, []
        for name, convs in zip(self.held * (2 // len(self.held)), (head.cls_convs, head.reg_convs)):
            maps = [crosskd_align_scale(s, t) for s, t in zip(student[name], teacher[name])]
            if self.cut:
                maps = [F.relu(x) for x in maps]
            for conv in convs[self.cut:]:
                maps = [conv(x) for x in maps]
            towers.append(maps)
        scores, boxes, centers = [], [], []
        for level, (cls_feat, reg_feat) in enumerate(zip(*towers)):
            scores.append(self.head.cls(cls_feat))
            boxes.append(self.head.finish_boxes(self.head.reg(reg_feat), level))
            if self.head.kind == 'atss':
                centers.append(head.atss_centerness(reg_feat))
        return scores, boxes, centers

    def forward(self, student, teacher, batch, progress):
        scores, boxes, centers = self._cross(student, teacher)
        targets = self.own.targets(student['head.targets'], len(scores[0]))
        teacher_scores, teacher_boxes = teacher['head.cls_scores'], teacher['head.bbox_preds']
        kind, classes = self.head.kind, self.head.num_classes
        if kind == 'gfl':
            return crosskd_gfl_loss(scores, teacher_scores, boxes, teacher_boxes, targets.label_weights,
                                    reg_max=self.head.reg_max, avg_factor=process_mean(targets.num_positives),
                                    temperature=self.temperature, cls_weight=self.cls_weight, reg_weight=self.reg_weight)
        if kind == 'fcos':
            centeredness = process_mean(self.own.center_targets(targets).sum())
            # the reference divides by 1e-6 where no image has an object, and the step throws the student away
            avg_factor = torch.where(centeredness > 0, centeredness.clamp(min=1e-6), 1.0)
        else:
            avg_factor = targets.num_positives if kind == 'retina' else process_mean(targets.num_positives)
        cls, reg, center = 0.0, 0.0, 0.0
        for level, priors in enumerate(self.head.priors(scores)):
            own, other = flat_map(scores[level], classes), flat_map(teacher_scores[level], classes)
            weights = None if kind == 'fcos' else targets.label_weights[level].reshape(-1)
            cls = cls + crosskd_cls_loss(own, other, weights, avg_factor=avg_factor)
            decoded = (self.head.boxes(x[level], priors, level) for x in (boxes, teacher_boxes))
            reg = reg + crosskd_box_loss(*decoded, other, weights, mode='iou' if kind == 'fcos' else 'giou',
                                         avg_factor=avg_factor)
            if centers:
                positive = self.own.positive(targets.labels[level].reshape(-1))
                own, other = (flat_map(x[level], 1)[:, 0] for x in (centers, teacher['head.centernesses']))
                errors = F.binary_cross_entropy_with_logits(own, other.sigmoid(), reduction='none')
                center = center + reduced(errors, positive, avg_factor)
        terms = dict(cls=self.cls_weight * cls, reg=self.reg_weight * reg)
        return dict(terms, center=self.center_weight * center) if centers else terms
