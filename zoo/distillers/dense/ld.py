"""Localization distillation.

Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng: Localization Distillation for Dense Object Detection. CVPR 2022, arXiv:2102.12252.
Reference code: HikariTJU/LD@4287990c (mmdet/models/dense_heads/ld_head.py, losses/kd_loss.py,
core/bbox/assigners/atss_assigner.py), whose "DIoU" divides the overlap by the anchor's area; so does this.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..boxes import flat_map
from ..dense_heads import DenseHead, gt_boxes, refuse_unlike

__all__ = ['LD', 'imitation_region', 'ld_gfl_loss', 'ld_loss', 'vlr_region']


def ld_loss(student_logits: Tensor, teacher_logits: Tensor, weights: Tensor | None = None, *, temperature: float = 10.0,
            avg_factor: float | Tensor | None = None) -> Tensor:
    """Divergence of two distributions at each row, the MEAN over the bins, times ``T^2`` (eq. 5).

    Half precision is computed in float32.

    Args:
        student_logits, teacher_logits: ``(M, R)``; the teacher's are detached.
        weights: ``(M,)``, or None for ones.
        temperature: T, applied to both.
        avg_factor: what the sum over M is divided by, without an epsilon; None: the mean over M.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = (F.log_softmax(x.to(dtype) / temperature, dim=1) for x in (student_logits, teacher_logits.detach()))
    loss = F.kl_div(student, teacher, reduction='none', log_target=True).mean(1) * temperature**2
    if weights is not None:
        loss = loss * weights
    return loss.mean() if avg_factor is None else loss.sum() / avg_factor


def _overlaps(anchors: Tensor, gt_bboxes: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """IoU and intersection over the anchor's area, ``(A, G)`` each."""
    corner = torch.maximum(anchors[:, None, :2], gt_bboxes[:, :2])
    overlap = (torch.minimum(anchors[:, None, 2:], gt_bboxes[:, 2:]) - corner).clamp(min=0).prod(2)
    own, other = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (anchors, gt_bboxes))
    union = (own[:, None] + other - overlap).clamp(min=eps)
    return overlap / union, overlap / own[:, None].clamp(min=eps)


def vlr_region(anchors: Tensor, gt_bboxes: Tensor, *, num_level_anchors: list[int], topk: int = 9, low: float = 0.25,
               eps: float = 1e-6) -> Tensor:
    """The valuable localization region: how much each anchor is worth beside the positives (section 3.3).

    For each labelled box, ATSS's threshold (mean plus standard deviation of the IoU of its nearest anchors) bounds a
    distance-penalised overlap from above, and ``low`` times it from below; a selected anchor is worth its largest IoU.

    Args:
        anchors: ``(A, 4)`` xyxy, stacked level by level.
        gt_bboxes: ``(G, 4)`` xyxy; G may be 0.
        num_level_anchors: anchors of each level.
        topk: nearest anchors of a level that set the threshold.
        low: the lower bound, as a share of the threshold.
        eps: the least union, anchor area and squared diagonal.

    Returns:
        ``(A,)``, 0 outside the region.

    Raises:
        ValueError: if the levels do not add up to A.
    """
    if sum(num_level_anchors) != len(anchors):
        raise ValueError(f'vlr_region: the levels have {sum(num_level_anchors)} anchors, and there are {len(anchors)}.')
    if not len(gt_bboxes) or not len(anchors):
        return anchors.new_zeros(len(anchors))
    iou, inner = _overlaps(anchors, gt_bboxes, eps)
    hull = torch.maximum(anchors[:, None, 2:], gt_bboxes[:, 2:]) - torch.minimum(anchors[:, None, :2], gt_bboxes[:, :2])
    offset = (anchors[:, None, :2] + anchors[:, None, 2:] - gt_bboxes[:, :2] - gt_bboxes[:, 2:]) / 2
    distance = offset.square().sum(2)
    penalised = inner - distance / hull.square().sum(2).clamp(min=eps)
    nearest = [part.topk(min(topk, len(part)), dim=0, largest=False)[1] + start
               for part, start in zip(distance.split(num_level_anchors), _starts(num_level_anchors)) if len(part)]
    candidates = iou.gather(0, torch.cat(nearest))
    threshold = candidates.mean(0) + candidates.std(0)
    selected = (penalised >= low * threshold) & (penalised < threshold)
    return torch.where(selected, iou, 0).amax(1)


def _starts(counts: list[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts))]


def imitation_region(anchors: Tensor, gt_bboxes: Tensor, *, eps: float = 1e-6) -> Tensor:
    """``(A,)`` bool: anchors whose IoU with a labelled box is above half of that box's largest.

    Args:
        anchors, gt_bboxes: ``(A, 4)`` and ``(G, 4)`` xyxy; G may be 0.
    """
    if not len(gt_bboxes) or not len(anchors):
        return torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    iou = _overlaps(anchors, gt_bboxes, eps)[0]
    return (iou > 0.5 * iou.amax(0)).any(1)


def ld_gfl_loss(student_bbox_logits: Tensor, teacher_bbox_logits: Tensor, student_logits: Tensor, teacher_logits: Tensor,
                labels: Tensor, label_weights: Tensor, vlr: Tensor, *, reg_max: int = 16, ld_weight: float = 0.25,
                vlr_weight: float = 0.25, kd_weight: float = 10.0, ld_temperature: float = 10,
                kd_temperature: float = 2) -> dict[str, Tensor]:
    """The three terms of one level of a GFL head; none is divided by the sum of quality weights.

    Args:
        student_bbox_logits, teacher_bbox_logits: ``(N, 4*(reg_max+1), H, W)``.
        student_logits, teacher_logits: ``(N, K, H, W)``.
        labels: ``(N, H*W)`` int64, K for background.
        label_weights: ``(N, H*W)``.
        vlr: ``(N, H*W)`` of :func:`vlr_region`.
        ld_weight, vlr_weight, kd_weight: of the sides at positives, the sides in the region and the classes at positives,
            already in what is returned.
        ld_temperature, kd_temperature: of the sides and of the classes.

    Returns:
        ``ld``, ``ld_vlr`` and ``kd``, scalars; 0 (with their graph) where a level has no such place.
    """
    classes, sides = student_logits.shape[1], 4 * (reg_max + 1)
    labels, label_weights, vlr = labels.reshape(-1), label_weights.reshape(-1), vlr.reshape(-1)
    own, other = flat_map(student_bbox_logits, sides), flat_map(teacher_bbox_logits, sides)
    logits, teacher_logits = flat_map(student_logits, classes), flat_map(teacher_logits, classes)
    positive = ((labels >= 0) & (labels < classes)).nonzero()[:, 0]
    valuable = (vlr > 0).nonzero()[:, 0]
    quality = logits.detach()[positive].sigmoid().amax(1)

    def at_sides(places: Tensor, weights: Tensor, avg_factor: float) -> Tensor:
        # rows of bins: left, top, right, bottom of each place, with the place's weight
        student, teacher = (x[places].reshape(-1, reg_max + 1) for x in (own, other))
        return ld_loss(student, teacher, weights.repeat_interleave(4), temperature=ld_temperature, avg_factor=avg_factor)

    kd = ld_loss(logits[positive], teacher_logits[positive], label_weights[positive], temperature=kd_temperature,
                 avg_factor=max(len(positive), 1))
    return dict(ld=ld_weight * at_sides(positive, quality, 4.0),
                ld_vlr=vlr_weight * at_sides(valuable, vlr[valuable], 16.0), kd=kd_weight * kd)


@DISTILLERS.register_module()
class LD(Distiller):
    """LD: the distributions of box sides, at positives and around them (Zheng et al., CVPR 2022, arXiv:2102.12252).

    For GFL heads of the same strides, anchors, classes and ``reg_max``. The defaults are LD + VLR + KD; LD alone has
    ``vlr_weight=0, kd_weight=0``. The terms of the box sides are sums over the images of a process: the weights are for 2.

    Args:
        ld_weight, vlr_weight, kd_weight, ld_temperature, kd_temperature: as in :func:`ld_gfl_loss`.
        im_weight: of the mean squared error between ``neck`` maps in :func:`imitation_region`, on levels that have a
            positive; the authors' full ResNet-50 config has 2. Both necks then need one width.
        topk: of the region's threshold.
    """

    def __init__(self, ld_weight: float = 0.25, vlr_weight: float = 0.25, kd_weight: float = 10.0,
                 ld_temperature: float = 10.0, kd_temperature: float = 2.0, im_weight: float = 0.0, topk: int = 9):
        super().__init__()
        self.weights = dict(ld_weight=ld_weight, vlr_weight=vlr_weight, kd_weight=kd_weight)
        self.temperatures = dict(ld_temperature=ld_temperature, kd_temperature=kd_temperature)
        self.im_weight, self.topk = im_weight, topk
        maps = ('head.cls_scores', 'head.bbox_preds', *(('neck',) if im_weight else ()))
        self.needs = Needs(student=(*maps, 'head.targets'), teacher=maps)

    def build(self, shapes):
        self.head = DenseHead(shapes.student_net.module, 'LD', 'student', kinds=('gfl',))
        other = DenseHead(shapes.teacher_net.module, 'LD', 'teacher', kinds=('gfl',))
        refuse_unlike(self.head, other, 'LD', shapes, reg_max=True)
        if self.im_weight and shapes.student['neck'][0][1] != shapes.teacher['neck'][0][1]:
            raise ValueError(f"LD: feature imitation (im_weight) compares necks of one width; the student's has "
                             f"{shapes.student['neck'][0][1]} channels, the teacher's {shapes.teacher['neck'][0][1]}.")

    def _per_image(self, maps: list[Tensor], data_samples, region) -> list[Tensor]:
        """``region(anchors inside the image, boxes, anchors of each level)`` of all images, ``(N, A)`` level by level."""
        priors = self.head.priors(maps)
        counts, anchors = [len(level) for level in priors], torch.cat(priors)
        values = []
        for sample, boxes in zip(data_samples, gt_boxes(data_samples)):
            inside = self.head.inside(maps, sample.metainfo)
            found = region(anchors[inside], boxes.to(anchors.dtype), [int(part.sum()) for part in inside.split(counts)])
            values.append(found.new_zeros(len(anchors)).masked_scatter(inside, found))
        return list(torch.stack(values).split(counts, 1))

    def forward(self, student, teacher, batch, progress):
        logits, samples = student['head.cls_scores'], batch.extra['data_samples']
        targets = self.head.targets(student['head.targets'], len(logits[0]))
        if self.weights['vlr_weight']:
            vlr = self._per_image(logits, samples, lambda anchors, boxes, counts: vlr_region(
                anchors, boxes, num_level_anchors=counts, topk=self.topk))
        else:
            vlr = [torch.zeros_like(weights) for weights in targets.label_weights]
        totals = dict(ld=0.0, ld_vlr=0.0, kd=0.0)
        for maps in zip(student['head.bbox_preds'], teacher['head.bbox_preds'], logits, teacher['head.cls_scores'],
                        targets.labels, targets.label_weights, vlr):
            terms = ld_gfl_loss(*maps, reg_max=self.head.reg_max, **self.weights, **self.temperatures)
            totals = {name: total + terms[name] for name, total in totals.items()}
        totals = {name: value for name, value in totals.items()
                  if self.weights[{'ld': 'ld_weight', 'ld_vlr': 'vlr_weight', 'kd': 'kd_weight'}[name]]}
        if self.im_weight:
            region = self._per_image(logits, samples, lambda anchors, boxes, counts: imitation_region(anchors, boxes))
            totals['imitation'] = self.im_weight * self._imitation(student['neck'], teacher['neck'], region, targets)
        return totals

    def _imitation(self, student: list[Tensor], teacher: list[Tensor], region: list[Tensor], targets) -> Tensor:
        total = 0.0
        for s, t, chosen, labels in zip(student, teacher, region, targets.labels):
            chosen = chosen.reshape(-1) & self.head.positive(labels).any()
            errors = (flat_map(s, s.shape[1]) - flat_map(t, t.shape[1])).square().mean(1)
            total = total + (errors * chosen).sum() / chosen.sum().clamp(min=1)
        return total
