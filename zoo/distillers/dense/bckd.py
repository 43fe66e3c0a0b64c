"""Bridging cross-task protocol inconsistency.

Yang, Zhou et al.: Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection. ICCV 2023,
arXiv:2308.14286.
Reference code: TinyTigerPan/BCKD@121c9aa (mmdet/models/dense_heads/ld_head.py, losses/kd_loss.py, losses/iou_loss.py),
which has GFL only; RetinaNet and FCOS follow the paper.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..boxes import aligned_overlaps, boxes_from_bins, flat_map, reduced
from ..dense_heads import DenseHead, process_mean, refuse_unlike

__all__ = ['BCKD', 'bckd_cls_loss', 'bckd_gfl_loss', 'bckd_loc_loss', 'bckd_loss']


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def bckd_cls_loss(student_logits: Tensor, teacher_logits: Tensor, label_weights: Tensor | None = None, *,
                  beta: float = 1.0, avg_factor: float | Tensor | None = None) -> Tensor:
    """Each class a binary problem: cross-entropy with the teacher's score, times ``|p_t - p_s|^beta`` (eq. 5 to 7).

    The factor is not detached. The classes are summed. Half precision is computed in float32.

    Args:
        student_logits, teacher_logits: ``(M, K)``; the teacher's are detached.
        label_weights: ``(M,)``, or None for ones.
        avg_factor: what the sum over M is divided by; None: the mean over M.
    """
    student, target = _exact(student_logits), _exact(teacher_logits).detach().sigmoid()
    loss = F.binary_cross_entropy_with_logits(student, target, reduction='none')
    loss = loss * (target - student.sigmoid()).abs().pow(beta)
    return reduced(loss.sum(1), label_weights, avg_factor)


def bckd_loc_loss(student_boxes: Tensor, teacher_boxes: Tensor, weights: Tensor | None = None, *,
                  avg_factor: float | Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """``1 - GIoU`` of the student's with the teacher's box at each place (eq. 9; the paper writes IoU, the code has GIoU).

    Args:
        student_boxes, teacher_boxes: ``(M, 4)`` xyxy; the teacher's are detached.
        weights: ``(M,)``, or None for ones.
        avg_factor: what the sum over M is divided by; None: the mean over M.
        eps: the least union and enclosing area.
    """
    loss = 1 - aligned_overlaps(_exact(student_boxes), _exact(teacher_boxes).detach(), eps=eps)
    return reduced(loss, weights, avg_factor)


def bckd_loss(student_logits: Tensor, teacher_logits: Tensor, student_boxes: Tensor, teacher_boxes: Tensor,
              label_weights: Tensor | None = None, *, beta: float = 1.0, avg_factor: float | Tensor | None = None,
              cls_weight: float = 1.0, loc_weight: float = 4.0) -> dict[str, Tensor]:
    """Both terms at M places; boxes weigh as much as the largest gap between the two scores of a class (eq. 8).

    Args:
        student_logits, teacher_logits: ``(M, K)``.
        student_boxes, teacher_boxes: ``(M, 4)`` xyxy.
        label_weights: ``(M,)``, or None for ones.
        beta, avg_factor: as in :func:`bckd_cls_loss`, the normaliser for both terms.
        cls_weight, loc_weight: of the terms, already in what is returned.

    Returns:
        ``cls`` and ``loc``, scalars.
    """
    gap = (_exact(teacher_logits).sigmoid() - _exact(student_logits).sigmoid()).abs().amax(1).detach()
    if label_weights is not None:
        gap = gap * label_weights
    return dict(cls=cls_weight * bckd_cls_loss(student_logits, teacher_logits, label_weights, beta=beta,
                                               avg_factor=avg_factor),
                loc=loc_weight * bckd_loc_loss(student_boxes, teacher_boxes, gap, avg_factor=avg_factor))


def bckd_gfl_loss(student_logits: Tensor, teacher_logits: Tensor, student_bbox_logits: Tensor, teacher_bbox_logits: Tensor,
                  anchors: Tensor, label_weights: Tensor, *, stride: float, reg_max: int = 16,
                  avg_factor: float | Tensor | None, cls_weight: float = 1.0, loc_weight: float = 1.0) -> dict[str, Tensor]:
    """Both terms of one level of a GFL head; every position is decoded, in stride units.

    Args:
        student_logits, teacher_logits: ``(B, K, H, W)``.
        student_bbox_logits, teacher_bbox_logits: ``(B, 4*(reg_max+1), H, W)``.
        anchors: ``(B, H*W, 4)`` xyxy in pixels, of which the centres count.
        label_weights: ``(B, H*W)``.
        stride: of the level, in pixels.
        avg_factor: positives of all levels, at least 1.
        cls_weight, loc_weight: of the terms (4 is the paper's ``loc_weight``).

    Returns:
        ``cls`` and ``loc``, scalars. A level without positives is the caller's to leave out.
    """
    anchors = anchors.reshape(-1, 4)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2 / stride
    classes, sides = student_logits.shape[1], 4 * (reg_max + 1)
    boxes = (boxes_from_bins(flat_map(_exact(x), sides), centers, reg_max)
             for x in (student_bbox_logits, teacher_bbox_logits))
    return bckd_loss(flat_map(student_logits, classes), flat_map(teacher_logits, classes), *boxes,
                     label_weights.reshape(-1), avg_factor=avg_factor, cls_weight=cls_weight, loc_weight=loc_weight)


@DISTILLERS.register_module()
class BCKD(Distiller):
    """BCKD: scores as binary problems, boxes by their overlap (Yang et al., ICCV 2023, arXiv:2308.14286).

    Works on GFL, ATSS, RetinaNet and FCOS, teacher and student with the same strides, anchors and classes. A level
    without positives in the batch is left out, as in the released code.

    Args:
        cls_weight, loc_weight: of the two terms.
        beta: the exponent of the score gap.
    """
    needs = Needs(student=('head.cls_scores', 'head.bbox_preds', 'head.targets'),
                  teacher=('head.cls_scores', 'head.bbox_preds'))

    def __init__(self, cls_weight: float = 1.0, loc_weight: float = 4.0, beta: float = 1.0):
        super().__init__()
        self.cls_weight, self.loc_weight, self.beta = cls_weight, loc_weight, beta

    def build(self, shapes):
        self.heads = (DenseHead(shapes.student_net.module, 'BCKD', 'student'),
                      DenseHead(shapes.teacher_net.module, 'BCKD', 'teacher'))
        refuse_unlike(*self.heads, 'BCKD', shapes)

    def forward(self, student, teacher, batch, progress):
        own, other = self.heads
        logits, boxes = student['head.cls_scores'], student['head.bbox_preds']
        teacher_logits, teacher_boxes = teacher['head.cls_scores'], teacher['head.bbox_preds']
        targets = own.targets(student['head.targets'], len(logits[0]))
        avg_factor = process_mean(targets.num_positives).clamp(min=1)
        totals = dict(cls=0.0, loc=0.0)
        for level, priors in enumerate(own.priors(logits)):
            if own.kind == 'gfl':
                centers = (priors[:, :2] + priors[:, 2:]).repeat(len(logits[level]), 1) / 2 / own.strides[level]
                decoded = [boxes_from_bins(flat_map(x[level], 4 * (head.reg_max + 1)), centers, head.reg_max)
                           for head, x in ((own, boxes), (other, teacher_boxes))]
            else:
                decoded = [own.boxes(boxes[level], priors, level), other.boxes(teacher_boxes[level], priors, level)]
            terms = bckd_loss(flat_map(logits[level], own.num_classes), flat_map(teacher_logits[level], own.num_classes),
                              *decoded, targets.label_weights[level].reshape(-1), beta=self.beta, avg_factor=avg_factor,
                              cls_weight=self.cls_weight, loc_weight=self.loc_weight)
            present = own.positive(targets.labels[level]).any()
            totals = {name: total + terms[name] * present for name, total in totals.items()}
        return totals
