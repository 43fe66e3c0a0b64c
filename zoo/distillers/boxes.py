"""Boxes ``xyxy``: overlaps of aligned boxes, and boxes from distributions of their sides."""
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['EPS32', 'aligned_overlaps', 'boxes_from_bins', 'flat_map', 'reduced']

EPS32 = 1.1920929e-07  #: float32's machine epsilon, which mmdet adds to a given normaliser


def flat_map(x: Tensor, width: int) -> Tensor:
    """``(N, A*width, H, W)`` to ``(N*H*W*A, width)``, the order of mmdet's targets."""
    return x.permute(0, 2, 3, 1).reshape(-1, width)


def reduced(loss: Tensor, weights: Tensor | None, avg_factor: float | Tensor | None) -> Tensor:
    """mmdet's weighted mean: over all elements, or the sum over a given normaliser plus :data:`EPS32`."""
    if weights is not None:
        loss = loss * weights
    return loss.mean() if avg_factor is None else loss.sum() / (avg_factor + EPS32)


def aligned_overlaps(boxes: Tensor, others: Tensor, *, mode: str = 'giou', eps: float = 1e-6) -> Tensor:
    """IoU or generalised IoU ``(M,)`` of box i with box i; union and enclosing area are at least ``eps``.

    Args:
        boxes, others: ``(M, 4)`` xyxy.
        mode: ``'iou'`` or ``'giou'``.
    """
    corner, other_corner = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    overlap = (other_corner - corner).clamp(min=0).prod(1)
    union = ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1) - overlap).clamp(min=eps)
    iou = overlap / union
    if mode == 'iou':
        return iou
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    enclosing = hull.clamp(min=0).prod(1).clamp(min=eps)
    return iou - (enclosing - union) / enclosing


def boxes_from_bins(bbox_logits: Tensor, centers: Tensor, reg_max: int) -> Tensor:
    """The boxes of generalised focal loss: each side's distance is the mean of a distribution over 0 to ``reg_max``.

    Args:
        bbox_logits: ``(M, 4*(reg_max+1))``, sides left, top, right, bottom, each with its bins together.
        centers: ``(M, 2)`` in stride units.

    Returns:
        ``(M, 4)`` xyxy in stride units.
    """
    probs = F.softmax(bbox_logits.reshape(-1, 4, reg_max + 1), dim=2)
    distances = probs @ torch.arange(reg_max + 1, dtype=probs.dtype, device=probs.device)
    return torch.cat([centers - distances[:, :2], centers + distances[:, 2:]], 1)
