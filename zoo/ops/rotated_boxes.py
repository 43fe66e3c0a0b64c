"""Rotated boxes: kernels of ``mmcv.ops.box_iou_rotated`` and ``nms_rotated``.

A box is (centre x, centre y, width, height, angle in radians, clockwise on the screen).
"""
import torch
from torch import Tensor

from .kernels import kernel, wide


def _corners(boxes: Tensor) -> Tensor:
    """``(..., 5)`` to corners ``(..., 4, 2)``, in order around the box."""
    centre, size, angle = boxes[..., :2], boxes[..., 2:4] / 2, boxes[..., 4]
    signs = boxes.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    x, y = (signs * size[..., None, :]).unbind(-1)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    return centre[..., None, :] + torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _inside(points: Tensor, corners: Tensor, slack: Tensor) -> Tensor:
    """Whether ``points`` ``(..., 4, 2)`` lie in the box with ``corners`` ``(..., 4, 2)``."""
    edges = corners.roll(-1, -2) - corners
    side = _cross(edges[..., None, :, :], points[..., :, None, :] - corners[..., None, :, :])
    return (side >= -slack[..., None, None]).all(-1)


def intersection_area(first: Tensor, second: Tensor) -> Tensor:
    """Area common to rotated boxes, ``(..., 5)`` each (broadcast): ``(...)``.

    The corners of either box inside the other and the crossings of their edges are the corners of the common polygon.
    """
    first, second = torch.broadcast_tensors(first, second)
    # around the middle of the two, so that far from the origin no digits are lost
    middle = (first[..., :2] + second[..., :2]) / 2
    first = torch.cat([first[..., :2] - middle, first[..., 2:]], -1)
    second = torch.cat([second[..., :2] - middle, second[..., 2:]], -1)
    a, b = _corners(first), _corners(second)
    reach = torch.maximum(first[..., 2:4].amax(-1), second[..., 2:4].amax(-1))
    slack = torch.finfo(a.dtype).eps * 16 * reach.square()

    along_a, along_b = a.roll(-1, -2) - a, b.roll(-1, -2) - b
    between = b[..., None, :, :] - a[..., :, None, :]
    turn = _cross(along_a[..., :, None, :], along_b[..., None, :, :])
    parallel = turn.abs() <= slack[..., None, None]
    safe = torch.where(parallel, 1., turn)
    t = _cross(between, along_b[..., None, :, :]) / safe
    u = _cross(between, along_a[..., :, None, :]) / safe
    crosses = ~parallel & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    crossing = a[..., :, None, :] + t[..., None] * along_a[..., :, None, :]

    points = torch.cat([a, b, crossing.flatten(-3, -2)], -2)
    used = torch.cat([_inside(a, b, slack), _inside(b, a, slack), crosses.flatten(-2)], -1)
    count = used.sum(-1, keepdim=True)
    heart = (points * used[..., None]).sum(-2, keepdim=True) / count.clamp_min(1)[..., None]
    points = torch.where(used[..., None], points - heart, 0.)
    angle = torch.where(used, torch.atan2(points[..., 1], points[..., 0]), torch.inf)
    order = angle.argsort(-1)
    points = points.gather(-2, order[..., None].expand_as(points))
    # unused points come last: they repeat the first, so that the ring closes there
    past = torch.arange(points.shape[-2], device=points.device) >= count
    points = torch.where(past[..., None], points[..., :1, :], points)
    return _cross(points, points.roll(-1, -2)).sum(-1).abs() / 2


@kernel
def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Fill ``ious`` ``(N * M,)`` or, aligned, ``(N,)``: intersection over union (mode 0) or over the first's area (1)."""
    first, second = wide(boxes1), wide(boxes2)
    if not aligned:
        first, second = first[:, None], second[None]
    common = intersection_area(first, second)
    area1, area2 = (b[..., 2] * b[..., 3] for b in (first, second))
    base = area1 + area2 - common if mode_flag == 0 else area1.expand_as(common)
    ious.copy_(torch.where(base > 0, common / base, 0.).reshape(ious.shape))


@kernel
def nms_rotated(dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, labels: Tensor, iou_threshold: float,
                multi_label: bool) -> Tensor:
    """Indices (int64) of the kept boxes, best first; boxes with different labels (column 6) leave each other alone."""
    boxes, kept = wide(dets_sorted), []
    alive = torch.arange(len(boxes), device=boxes.device)
    while len(alive):
        best, alive = alive[0], alive[1:]
        kept.append(best)
        common = intersection_area(boxes[best, :5], boxes[alive, :5])
        areas = boxes[:, 2] * boxes[:, 3]
        stays = common <= iou_threshold * (areas[best] + areas[alive] - common)
        if multi_label:
            stays |= boxes[alive, 5] != boxes[best, 5]
        alive = alive[stays]
    return order[torch.stack(kept)] if kept else order[:0]
