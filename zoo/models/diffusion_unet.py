"""A small U-Net for diffusion."""
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import MODELS, UnknownNameError, unknown

TAPS = ('output', 'middle')


def time_embedding(t: Tensor, channels: int, *, scale: float = 1000.0, max_period: float = 10000.0) -> Tensor:
    """Sines and cosines of times ``(N,)``: ``(N, channels)`` float32.

    Source: Vaswani et al., NeurIPS 2017, arXiv:1706.03762, section 3.5; for diffusion Ho et al., NeurIPS 2020.
    """
    frequencies = torch.exp(-math.log(max_period) * torch.arange(channels // 2, device=t.device) / (channels // 2))
    angles = scale * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class _Block(nn.Module):
    """Residual block: two convolutions, scale and shift by the embedding between them."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(min(groups, inputs), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(min(groups, outputs), outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.embed(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class _Attention(nn.Module):
    """Self-attention over the positions of a map."""

    def __init__(self, channels: int, heads: int, groups: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(min(groups, channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, height * width).transpose(3, 4).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(2, 3).reshape(n, c, height, width))


@MODELS.register_module()
class DiffusionUNet(nn.Module):
    """U-Net that is told a time and, if it has classes, a label; shallow enough for one CPU core.

    Args:
        in_channels: C of the images.
        channels: of the first level.
        channel_mult: width of each level over ``channels``; the side is halved between levels.
        num_blocks: residual blocks a level on the way down (one more on the way up).
        attention: levels (from 0) with self-attention behind each block; the middle always has one.
        num_heads: of the attention.
        patch_size: p: the network works on ``(C p p, H/p, W/p)``, pixels of a p x p square as channels.
        num_classes: K of class labels, or None; label K means none.
        guidance_embedding: is also told a guidance scale, by an embedding that starts at zero.
        dropout: in the residual blocks.
        groups: of GroupNorm.
        prediction_type: what the output means: ``'v'``, ``'eps'`` or ``'x0'`` (see :mod:`zoo.diffusion`).
        schedule: what times mean, such as ``'cosine'`` or ``dict(type='cosine', logsnr_min=-20.0)``.

    Raises:
        ValueError: for widths that the groups or heads do not divide.

    Source: Ho et al., NeurIPS 2020, arXiv:2006.11239, appendix B; scale-shift conditioning by Dhariwal and Nichol, NeurIPS
    2021, arXiv:2105.05233. Sizes are our own.
    """

    def __init__(self, in_channels: int = 1, channels: int = 48, channel_mult: Sequence[int] = (1, 2), num_blocks: int = 1,
                 attention: Sequence[int] = (), num_heads: int = 4, patch_size: int = 1, num_classes: int | None = None,
                 guidance_embedding: bool = False, dropout: float = 0.0, groups: int = 8, prediction_type: str = 'v',
                 schedule: 'str | Mapping' = 'cosine'):
        super().__init__()
        widths = [channels * mult for mult in channel_mult]
        for width in widths:
            if width % min(groups, width) or width % num_heads:
                raise ValueError(f'DiffusionUNet: {width} channels must be a multiple of groups={groups} and '
                                 f'num_heads={num_heads}.')
        self.patch_size, self.num_classes = patch_size, num_classes
        self.prediction_type = prediction_type
        self.schedule = schedule if isinstance(schedule, str) else dict(schedule)
        self.factor = patch_size * 2 ** (len(widths) - 1)  # the images' sides are multiples of it
        self.channels, embedding = channels, 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(num_classes + 1, embedding) if num_classes is not None else None
        self.guidance = nn.Linear(channels, embedding) if guidance_embedding else None
        if self.guidance is not None:
            nn.init.zeros_(self.guidance.weight)
            nn.init.zeros_(self.guidance.bias)

        def block(inputs, outputs):
            return _Block(inputs, outputs, embedding, dropout, groups)

        def attend(level):
            return _Attention(widths[level], num_heads, groups) if level in attention else nn.Identity()
        pixels = in_channels * patch_size**2
        self.stem = nn.Conv2d(pixels, channels, 3, padding=1)
        self.down, self.reduce = nn.ModuleList(), nn.ModuleList()
        skips, width = [channels], channels
        for level, wide in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(num_blocks):
                blocks.append(nn.ModuleList([block(width, wide), attend(level)]))
                width = wide
                skips.append(width)
            self.down.append(blocks)
            if level + 1 < len(widths):
                self.reduce.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width), _Attention(width, num_heads, groups), block(width, width)])
        self.up, self.enlarge = nn.ModuleList(), nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(num_blocks + 1):
                blocks.append(nn.ModuleList([block(width + skips.pop(), wide), attend(level)]))
                width = wide
            self.up.append(blocks)
            if level:
                self.enlarge.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(min(groups, width), width)
        self.out = nn.Conv2d(width, pixels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def null_condition(self, labels: Tensor) -> Tensor:
        """Labels ``(N,)`` that mean none."""
        return torch.full_like(labels, self.num_classes)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None, guidance: Tensor | None = None) -> Tensor:
        """The output ``(N, C, H, W)`` for noisy images of that shape.

        Args:
            x: noisy images, their sides multiples of ``factor``.
            time: ``(N,)`` in 0..1.
            labels: ``(N,)`` int64 in 0..K (K is none), or None for none.
            guidance: ``(N,)`` guidance scales, if the network has an embedding for them.
        """
        return self.forward_taps(x, time, labels, guidance, names=('output',))['output']

    def forward_taps(self, x: Tensor, time: Tensor, labels: Tensor | None = None, guidance: Tensor | None = None,
                     names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """``output``, and ``middle``: the narrowest map.

        Raises:
            UnknownNameError: for another name.
            ValueError: for images that cannot be halved so often, or labels to a network without classes.
        """
        for name in names:
            if name not in TAPS:
                raise UnknownNameError(unknown('tap of DiffusionUNet', name, TAPS))
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            raise ValueError(f'DiffusionUNet needs sides that are multiples of {self.factor}, not {tuple(x.shape[-2:])}.')
        x = x.to(self.stem.weight.dtype)
        embedding = self.time(time_embedding(time, self.channels).to(x.dtype))
        if self.label is not None:
            labels = torch.full((len(x),), self.num_classes, device=x.device) if labels is None else labels
            embedding = embedding + self.label(labels)
        elif labels is not None:
            raise ValueError('This DiffusionUNet has no classes: set num_classes, or leave the labels out.')
        if guidance is not None:
            if self.guidance is None:
                raise ValueError('This DiffusionUNet has no guidance embedding: set guidance_embedding=True.')
            embedding = embedding + self.guidance(time_embedding(guidance / 10, self.channels).to(x.dtype))
        embedding = F.silu(embedding)
        h = self.stem(F.pixel_unshuffle(x, self.patch_size) if self.patch_size > 1 else x)
        skips = [h]
        for level, blocks in enumerate(self.down):
            for block, attend in blocks:
                h = attend(block(h, embedding))
                skips.append(h)
            if level < len(self.reduce):
                h = self.reduce[level](h)
                skips.append(h)
        first, attend, second = self.middle
        h = middle = second(attend(first(h, embedding)), embedding)
        for level, blocks in enumerate(self.up):
            for block, attend in blocks:
                h = attend(block(torch.cat([h, skips.pop()], dim=1), embedding))
            if level < len(self.enlarge):
                h = self.enlarge[level](F.interpolate(h, scale_factor=2, mode='nearest'))
        output = self.out(F.silu(self.norm(h)))
        output = F.pixel_shuffle(output, self.patch_size) if self.patch_size > 1 else output
        return {name: value for name, value in (('output', output), ('middle', middle)) if name in names}
