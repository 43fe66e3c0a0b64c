"""Bilinear reading of a map at points, as RoIAlign and its kin do it."""
import torch
from torch import Tensor


def sample(maps: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of ``maps`` at points; differentiable by the map and by the points.

    A point up to one pixel outside reads the border, one farther away reads 0.

    Args:
        maps: ``(N, C, H, W)``.
        image: index of the map of each point, int64, broadcast to the points' shape ``(...)``.
        y, x: coordinates ``(...)``, 0 at the middle of the first pixel.

    Returns:
        ``(..., C)``.
    """
    n, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(n * height * width, channels)
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().floor().long(), x.detach().floor().long()
    bottom, right = (top + 1).clamp_max(height - 1), (left + 1).clamp_max(width - 1)
    down, along = y - top, x - left

    def corner(row: Tensor, column: Tensor, weight: Tensor) -> Tensor:
        return rows[(image * height + row) * width + column] * weight[..., None]

    value = corner(top, left, (1 - down) * (1 - along)) + corner(top, right, (1 - down) * along)
    value = value + corner(bottom, left, down * (1 - along)) + corner(bottom, right, down * along)
    return torch.where(outside[..., None], torch.zeros((), dtype=value.dtype, device=value.device), value)
