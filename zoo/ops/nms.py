"""Suppression of overlapping boxes: kernels of ``mmcv.ops.nms``, ``soft_nms``, ``nms_match`` (``batched_nms`` calls these).

Boxes are ``(N, 4)``, xyxy in pixels; a width is ``x2 - x1 + offset`` with offset 0 or 1.
"""
import torch
import torchvision
from torch import Tensor

from .kernels import kernel, wide


def _threshold(value: float, boxes: Tensor) -> float:
    # mmcv compares with a float32 threshold: at an IoU of just 0.6 the double 0.6 would decide otherwise
    return torch.tensor(value, dtype=torch.float32).item() if boxes.dtype == torch.float32 else float(value)


def iou_of_one(box: Tensor, boxes: Tensor, offset: float = 0) -> Tensor:
    """Intersection over union of one box ``(4,)`` with others ``(N, 4)``: ``(N,)``; NaN where both are empty."""
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    inter = (high - low + offset).clamp_min(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    return inter / ((box[2:] - box[:2] + offset).prod() + areas - inter)


@kernel
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (int64) of the kept boxes, best first; a box goes where its IoU with a kept one is above the threshold."""
    boxes, scores = wide(boxes), wide(scores).to(wide(boxes).dtype)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
    return torchvision.ops.nms(boxes, scores, _threshold(iou_threshold, boxes))


@kernel
def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int,
            offset: int) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017, arXiv:1704.04503): rescores overlapping boxes instead of dropping them.

    Args:
        dets: ``(N, 5)``, filled with the kept boxes and their new scores, best first.
        method: 0 naive (score 0 at IoU >= threshold), 1 linear (times 1 - IoU there), 2 Gaussian (times exp(-IoU²/sigma)).

    Returns:
        Indices ``(M,)`` int64 of the kept boxes; a box goes when its score falls below ``min_score``.
    """
    boxes, left, threshold = wide(boxes), wide(scores).clone(), _threshold(iou_threshold, wide(boxes))
    alive, order = torch.arange(len(boxes), device=boxes.device), []
    while len(alive):
        best = left[alive].argmax()
        chosen = alive[best]
        dets[len(order), :4], dets[len(order), 4] = boxes[chosen], left[chosen]
        order.append(chosen)
        alive = torch.cat([alive[:best], alive[best + 1:]])
        iou = iou_of_one(boxes[chosen], boxes[alive], offset)
        if method == 2:
            factor = torch.exp(-iou.square() / sigma)
        else:
            factor = torch.where(iou >= threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1.)
        left[alive] *= factor.to(left.dtype)
        alive = alive[~(left[alive] < min_score)]
    return torch.stack(order) if order else torch.empty(0, dtype=torch.int64, device=boxes.device)


@kernel
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: each kept box followed by the boxes that it suppresses (IoU >= threshold), best first."""
    dets, groups = wide(dets), []
    alive, threshold = dets[:, 4].argsort(descending=True), _threshold(iou_threshold, dets)
    while len(alive):
        best, alive = alive[0], alive[1:]
        taken = iou_of_one(dets[best, :4], dets[alive, :4]) >= threshold
        groups.append([best.item(), *alive[taken].tolist()])
        alive = alive[~taken]
    return groups


@kernel
def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Fill ``ious``, ``(N, M)`` or, aligned, ``(N,)``: intersection over union (mode 0) or over the first's area (mode 1)."""
    first, second = wide(bboxes1), wide(bboxes2)
    if not aligned:
        first, second = first[:, None], second[None]
    inter = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2]) + offset)
    inter = inter.clamp_min(0).prod(-1)
    area1, area2 = ((b[..., 2:] - b[..., :2] + offset).prod(-1) for b in (first, second))
    base = (area1 + area2 - inter if mode == 0 else area1.expand_as(inter)).clamp_min(offset)
    ious.copy_((inter / base).view_as(ious))
