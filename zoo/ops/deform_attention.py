"""Multi-scale deformable attention (Zhu et al., ICLR 2021, arXiv:2010.04159): kernels of ``mmcv.ops``' attention on CUDA.

On the CPU mmcv's own module takes its Python path (:func:`torch.nn.functional.grid_sample`) and calls no kernel.
"""
import torch.nn.functional as F
from torch import Tensor

from .kernels import gradients, kernel, wide


def _attend(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[list[int]]) -> Tensor:
    batch, _, heads, width = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    maps = value.permute(0, 2, 3, 1).reshape(batch * heads, width, -1).split([h * w for h, w in shapes], 2)
    # (B, Q, heads, levels, points, 2) -> (levels, B * heads, Q, points, 2) in [-1, 1]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).reshape(levels, batch * heads, queries, points, 2)
    weights = weights.permute(3, 0, 2, 1, 4).reshape(levels, batch * heads, 1, queries, points)
    total = value.new_zeros(batch * heads, width, queries)
    for level, (height, length) in enumerate(shapes):
        read = F.grid_sample(maps[level].reshape(-1, width, height, length), grids[level], align_corners=False)
        total = total + (read * weights[level]).sum(-1)
    return total.reshape(batch, heads * width, queries).transpose(1, 2)


@kernel
def ms_deform_attn_forward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                           sampling_locations: Tensor, attention_weights: Tensor, im2col_step: int) -> Tensor:
    """Weighted sum of the values at the sampled places.

    Args:
        value: ``(B, sum of H * W, heads, D)``.
        value_spatial_shapes: ``(levels, 2)`` int64, (H, W).
        sampling_locations: ``(B, Q, heads, levels, points, 2)``, (x, y) in [0, 1].
        attention_weights: ``(B, Q, heads, levels, points)``.

    Returns:
        ``(B, Q, heads * D)``.
    """
    out = _attend(wide(value), wide(sampling_locations), wide(attention_weights), value_spatial_shapes.tolist())
    return out.to(value.dtype).contiguous()


@kernel
def ms_deform_attn_backward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                            sampling_locations: Tensor, attention_weights: Tensor, grad_output: Tensor, grad_value: Tensor,
                            grad_sampling_loc: Tensor, grad_attn_weight: Tensor, im2col_step: int) -> None:
    """Gradients of :func:`ms_deform_attn_forward` by values, locations and weights; runs the forward again."""
    shapes = value_spatial_shapes.tolist()
    found = gradients(lambda v, places, a: _attend(v, places, a, shapes),
                      [wide(value), wide(sampling_locations), wide(attention_weights)], wide(grad_output))
    for target, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), found, strict=True):
        target.copy_(gradient)
