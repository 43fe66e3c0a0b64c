"""Pooling of regions: kernels of ``mmcv.ops.roi_align``, ``roi_pool``, ``deform_roi_pool`` and ``border_align``.

Feature maps are ``(N, C, H, W)``; regions ``(R, 5)`` are (image index, x1, y1, x2, y2) in pixels, times ``spatial_scale`` on
the map; outputs are ``(R, C, height, width)``.
"""
from collections.abc import Iterator

import torch
from torch import Tensor

from .bilinear import sample
from .kernels import gradients, kernel, wide

tv = torch.ops.torchvision


def _points(rois: Tensor, height: int, width: int, scale: float, ratio: int, aligned: bool,
            shift: tuple[Tensor, Tensor] | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The points that each bin of a region averages over: (y, x, used), each ``(R, height, width)``.

    ``ratio`` points a side, or with 0 as many as a bin has pixels (``used`` is false beyond them); ``shift`` (y, x),
    ``(R, height, width)`` in units of the region's size, moves a bin.
    """
    box = rois[:, 1:] * scale - (0.5 if aligned else 0.)
    size = box[:, 2:] - box[:, :2]
    if not aligned:
        size = size.clamp_min(1.)
    axes = []
    for axis, bins in ((1, height), (0, width)):
        step = size[:, axis] / bins
        count = torch.full_like(step, ratio) if ratio > 0 else step.ceil()
        start = box[:, axis, None] + torch.arange(bins, device=box.device) * step[:, None]
        axes.append((start, (step / count.clamp_min(1))[:, None], count[:, None]))
    (top, dy, rows), (left, dx, columns) = axes
    for i in range(int(rows.max()) if rows.numel() else 0):
        for j in range(int(columns.max())):
            y = (top + (i + 0.5) * dy)[:, :, None].expand(-1, -1, width)
            x = (left + (j + 0.5) * dx)[:, None, :].expand(-1, height, -1)
            if shift is not None:
                y, x = y + shift[0] * size[:, 1, None, None], x + shift[1] * size[:, 0, None, None]
            yield y, x, ((i < rows) & (j < columns))[:, :, None].expand(-1, height, width)


def _image(rois: Tensor) -> Tensor:
    return rois[:, 0].long()[:, None, None]


@kernel
def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, aligned_height: int,
                      aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int, aligned: bool) -> None:
    """RoIAlign (He et al., ICCV 2017, arXiv:1703.06870): mean (``pool_mode`` 1) or maximum (0) of bilinear samples.

    A region without any sample gives 0, in either mode; ``argmax_y`` and ``argmax_x`` are the maximum's place, else -1.
    """
    image, rois = wide(input), rois.to(wide(input).dtype)
    if pool_mode == 1:
        output.copy_(tv.roi_align(image, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned))
        return
    shape = (len(rois), aligned_height, aligned_width, image.shape[1])
    best = image.new_full(shape, -torch.inf)
    best_y, best_x = image.new_full(shape, -1), image.new_full(shape, -1)
    for y, x, used in _points(rois, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned):
        value = sample(image, _image(rois), y, x)
        better = (value > best) & used[..., None]
        best = torch.where(better, value, best)
        best_y, best_x = torch.where(better, y[..., None], best_y), torch.where(better, x[..., None], best_x)
    output.copy_(torch.where(best == -torch.inf, 0., best).permute(0, 3, 1, 2))
    argmax_y.copy_(best_y.permute(0, 3, 1, 2))
    argmax_x.copy_(best_x.permute(0, 3, 1, 2))


@kernel
def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int,
                       aligned: bool) -> None:
    """Gradient of :func:`roi_align_forward` by the map."""
    grad, rois = wide(grad_output), rois.to(wide(grad_output).dtype)
    if pool_mode == 1:
        grad_input.copy_(tv._roi_align_backward(grad, rois, spatial_scale, aligned_height, aligned_width, *grad_input.shape,
                                                sampling_ratio, aligned))
        return
    y, x = wide(argmax_y), wide(argmax_x)
    n, channels, height, width = grad_input.shape
    # every channel has its own point: the channels become images
    image = (_image(rois) * channels + torch.arange(channels, device=rois.device)[None, :, None])[..., None]
    grad = torch.where(y == -1, 0., grad)

    def read(maps: Tensor) -> Tensor:
        return sample(maps.reshape(n * channels, 1, height, width), image, y, x)[..., 0]

    grad_input.copy_(gradients(read, [torch.zeros_like(grad_input, dtype=grad.dtype)], grad)[0])


@kernel
def roi_pool_forward(input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int, pooled_width: int,
                     spatial_scale: float) -> None:
    """RoI pooling (Girshick, ICCV 2015, arXiv:1504.08083): maximum over whole pixels; ``argmax`` int32 is the pixel's."""
    image = wide(input)
    values, where = tv.roi_pool(image, rois.to(image.dtype), spatial_scale, pooled_height, pooled_width)
    output.copy_(values)
    argmax.copy_(where)


@kernel
def roi_pool_backward(grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor, pooled_height: int,
                      pooled_width: int, spatial_scale: float) -> None:
    """Gradient of :func:`roi_pool_forward` by the map."""
    grad = wide(grad_output)
    grad_input.copy_(tv._roi_pool_backward(grad, rois.to(grad.dtype), argmax, spatial_scale, pooled_height, pooled_width,
                                           *grad_input.shape))


def _deformed(maps: Tensor, offset: Tensor, rois: Tensor, height: int, width: int, scale: float, ratio: int,
              gamma: float) -> Tensor:
    """Mean over each bin's points, the bins moved by ``gamma`` times the offset ``(R, 2, height, width)`` (x, y) or none."""
    shift = (gamma * offset[:, 1], gamma * offset[:, 0]) if offset.numel() else None
    total = maps.new_zeros(len(rois), height, width, maps.shape[1])
    count = maps.new_zeros(len(rois), height, width)
    for y, x, used in _points(rois, height, width, scale, ratio, True, shift):
        total = total + torch.where(used[..., None], sample(maps, _image(rois), y, x), 0.)
        count = count + used
    return (total / count.clamp_min(1)[..., None]).permute(0, 3, 1, 2)


@kernel
def deform_roi_pool_forward(input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, pooled_height: int,
                            pooled_width: int, spatial_scale: float, sampling_ratio: int, gamma: float) -> None:
    """Deformable RoI pooling (Dai et al., ICCV 2017, arXiv:1703.06211): RoIAlign whose bins move by ``offset``."""
    maps = wide(input)
    output.copy_(_deformed(maps, wide(offset), rois.to(maps.dtype), pooled_height, pooled_width, spatial_scale,
                           sampling_ratio, gamma))


@kernel
def deform_roi_pool_backward(grad_output: Tensor, input: Tensor, rois: Tensor, offset: Tensor, grad_input: Tensor,
                             grad_offset: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float,
                             sampling_ratio: int, gamma: float) -> None:
    """Gradients of :func:`deform_roi_pool_forward` by the map and, where there is one, the offset."""
    maps, moves = wide(input), wide(offset)
    if not len(rois):
        return
    rest = (rois.to(maps.dtype), pooled_height, pooled_width, spatial_scale, sampling_ratio, gamma)
    if offset.numel():
        by_map, by_offset = gradients(lambda m, o: _deformed(m, o, *rest), [maps, moves], wide(grad_output))
        grad_offset.copy_(by_offset)
    else:
        by_map, = gradients(lambda m: _deformed(m, moves, *rest), [maps], wide(grad_output))
    grad_input.copy_(by_map)


def _border_points(boxes: Tensor, pool_size: int) -> tuple[Tensor, Tensor]:
    """Points ``(pool_size + 1, N, K, 4)`` along each box's top, left (from the first corner), bottom, right (from the last)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    along = torch.arange(pool_size + 1, device=boxes.device, dtype=boxes.dtype)[:, None, None] / pool_size
    across, down = (x2 - x1) * along, (y2 - y1) * along
    still = torch.zeros_like(across)
    y = torch.stack([y1 + still, y1 + down, y2 + still, y2 - down], -1)
    x = torch.stack([x1 + across, x1 + still, x2 - across, x2 + still], -1)
    return y, x


def _border(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``maps`` ``(N, 4C, H, W)``, a quarter of the channels a side, at points ``(..., N, K, 4)``: ``(..., N, K, 4, C)``."""
    n, channels, height, width = maps.shape
    image = torch.arange(n, device=maps.device)[:, None, None] * 4 + torch.arange(4, device=maps.device)
    return sample(maps.reshape(n * 4, channels // 4, height, width), image, y, x)


@kernel
def border_align_forward(input: Tensor, boxes: Tensor, output: Tensor, argmax_idx: Tensor, pool_size: int) -> None:
    """BorderAlign (Qiu et al., ECCV 2020, arXiv:2007.11056): maximum along each side of a box.

    Args:
        input: ``(N, 4C, H, W)``: C channels each for top, left, bottom and right.
        boxes: ``(N, K, 4)`` xyxy on the map.
        output: ``(N, C, K, 4)``; argmax_idx, int32: the point's number, 0 to ``pool_size``.
    """
    maps = wide(input)
    values, where = _border(maps, *_border_points(boxes.to(maps.dtype), pool_size)).max(0)
    output.copy_(values.permute(0, 3, 1, 2))
    argmax_idx.copy_(where.permute(0, 3, 1, 2))


@kernel
def border_align_backward(grad_output: Tensor, boxes: Tensor, argmax_idx: Tensor, grad_input: Tensor,
                          pool_size: int) -> None:
    """Gradient of :func:`border_align_forward` by the map."""
    grad = wide(grad_output)
    y, x = _border_points(boxes.to(grad.dtype), pool_size)
    chosen = argmax_idx.long().permute(0, 2, 3, 1)  # (N, K, 4, C)

    def read(maps: Tensor) -> Tensor:
        return _border(maps, y, x).gather(0, chosen[None])[0].permute(0, 3, 1, 2)

    grad_input.copy_(gradients(read, [torch.zeros_like(grad_input, dtype=grad.dtype)], grad)[0])
