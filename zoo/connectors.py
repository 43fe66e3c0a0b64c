"""What lies between a student's tap and a teacher's: channels, size and layout (map, tokens, vector) are aligned.

A connector is built from two shapes that a dry run found, so that no config states a channel count:

>>> connect((2, 64, 8, 8), (2, 197, 384))        # CNN map to ViT tokens with a class token
Projection(...)

Layouts: a map is ``(N, C, H, W)``, tokens are ``(N, L, D)`` (class or register tokens first, then the patches of a square
grid), a vector is ``(N, D)``.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import CONNECTORS

__all__ = ['Identity', 'MLP', 'Projection', 'connect', 'prefix_tokens', 'resize_map']


def prefix_tokens(length: int) -> int:
    """How many of ``length`` tokens are not patches of a square grid: the fewest whose removal leaves a square."""
    return length - math.isqrt(length)**2


def resize_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``(N, C, H, W)`` to ``(N, C, *size)``: adaptive average pooling where it shrinks, bilinear where it grows."""
    height, width = size
    if x.shape[2] >= height and x.shape[3] >= width:
        return x if x.shape[2:] == (height, width) else F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class Connector(nn.Module):
    """Base class: turns a student's tap into the teacher's shape.

    Args:
        student_shape, teacher_shape: of the taps; index 0 (the batch) carries no meaning.

    Raises:
        ValueError: if a shape is neither a map, nor tokens, nor a vector.
    """

    def __init__(self, student_shape, teacher_shape):
        super().__init__()
        for shape in (student_shape, teacher_shape):
            if len(shape) not in (2, 3, 4):
                raise ValueError('A connector joins maps (N, C, H, W), tokens (N, L, D) or vectors (N, D), '
                                 f'not {tuple(shape)}.')
        self.student_shape, self.teacher_shape = tuple(student_shape), tuple(teacher_shape)
        self.student_prefix = prefix_tokens(student_shape[1]) if len(student_shape) == 3 else 0
        self.teacher_prefix = prefix_tokens(teacher_shape[1]) if len(teacher_shape) == 3 else 0
        self.student_channels = student_shape[1] if len(student_shape) != 3 else student_shape[2]
        self.teacher_channels = teacher_shape[1] if len(teacher_shape) != 3 else teacher_shape[2]

    def split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """A student's tap as ``(prefix tokens (N, P, D) or None, map (N, C, H, W))``."""
        if x.dim() == 4:
            return None, x
        if x.dim() == 2:
            return None, x[:, :, None, None]
        side = math.isqrt(x.shape[1] - self.student_prefix)
        patches = x[:, self.student_prefix:].transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)
        return (x[:, :self.student_prefix] if self.student_prefix else None), patches

    def join(self, prefix: Tensor | None, x: Tensor) -> Tensor:
        """A map with the teacher's channels in the teacher's size and layout. Where the teacher has prefix tokens and the
        student has not as many, each of them is the map's mean."""
        if len(self.teacher_shape) == 2:
            return x.mean((2, 3))
        if len(self.teacher_shape) == 4:
            return resize_map(x, self.teacher_shape[2:])
        side = math.isqrt(self.teacher_shape[1] - self.teacher_prefix)
        tokens = resize_map(x, (side, side)).flatten(2).transpose(1, 2)
        if not self.teacher_prefix:
            return tokens
        if prefix is None or prefix.shape[1] != self.teacher_prefix:
            prefix = x.mean((2, 3))[:, None].expand(-1, self.teacher_prefix, -1)
        return torch.cat([prefix, tokens], dim=1)


@CONNECTORS.register_module()
class Identity(Connector):
    """Aligns size and layout only; the channels must be equal."""

    def __init__(self, student_shape, teacher_shape):
        super().__init__(student_shape, teacher_shape)
        if self.student_channels != self.teacher_channels:
            raise ValueError(f'Identity cannot join {self.student_channels} to {self.teacher_channels} channels: '
                             "use dict(type='Projection').")

    def forward(self, x: Tensor) -> Tensor:
        return self.join(*self.split(x))


@CONNECTORS.register_module()
class Projection(Connector):
    """One linear map of the channels (a 1x1 convolution), then size and layout.

    Args:
        bias: of the linear map.
        norm: a BatchNorm behind it.
        relu: a ReLU at the end, for targets that are not negative.
    """

    def __init__(self, student_shape, teacher_shape, bias: bool = True, norm: bool = False, relu: bool = False):
        super().__init__(student_shape, teacher_shape)
        self.linear = nn.Linear(self.student_channels, self.teacher_channels, bias=bias)
        self.norm = nn.BatchNorm2d(self.teacher_channels) if norm else nn.Identity()
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        prefix, x = self.split(x)
        x = F.conv2d(x, self.linear.weight[:, :, None, None], self.linear.bias)
        prefix = None if prefix is None else self.relu(self.linear(prefix))
        return self.join(prefix, self.relu(self.norm(x)))


@CONNECTORS.register_module()
class MLP(Connector):
    """Two linear maps with a GELU between them, position by position, then size and layout.

    Args:
        hidden: width in between; the teacher's by default.
    """

    def __init__(self, student_shape, teacher_shape, hidden: int | None = None):
        super().__init__(student_shape, teacher_shape)
        hidden = hidden or self.teacher_channels
        self.layers = nn.Sequential(nn.Linear(self.student_channels, hidden), nn.GELU(),
                                    nn.Linear(hidden, self.teacher_channels))

    def forward(self, x: Tensor) -> Tensor:
        prefix, x = self.split(x)
        x = self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.join(None if prefix is None else self.layers(prefix), x)


def connect(student_shape, teacher_shape, cfg: dict | str = 'auto') -> Connector:
    """Build a connector: ``'auto'`` (:class:`Identity` where the channels agree, else :class:`Projection`), the name of
    one, or ``dict(type=..., **options)``."""
    if cfg == 'auto':
        def channels(shape):
            return shape[2] if len(shape) == 3 else shape[1]
        cfg = 'Identity' if channels(student_shape) == channels(teacher_shape) else 'Projection'
    cfg = dict(type=cfg) if isinstance(cfg, str) else dict(cfg)
    return CONNECTORS.build(dict(cfg, student_shape=tuple(student_shape), teacher_shape=tuple(teacher_shape)))
