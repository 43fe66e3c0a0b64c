"""Wide residual networks for CIFAR (Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, init_normal_fan_out, keep
from zoo.registry import MODELS


class PreactivationBlock(nn.Module):
    """BN, ReLU, 3x3 convolution, twice, and a residual sum without activation."""

    def __init__(self, in_channels: int, channels: int, stride: int, drop_rate: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.convShortcut = (None if in_channels == channels
                             else nn.Conv2d(in_channels, channels, 1, stride, bias=False))
        self.drop_rate = drop_rate

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``; ``bn1(x)`` is appended to ``preacts``."""
        normalised = self.bn1(x)
        keep(normalised, preacts)
        active = F.relu(normalised)
        branch = F.relu(self.bn2(self.conv1(active)))
        branch = self.conv2(F.dropout(branch, self.drop_rate, self.training))
        return branch + (x if self.convShortcut is None else self.convShortcut(active))


class BlockRow(nn.Sequential):
    """Blocks in a row, of which the first may note its normalised input."""

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        for index, block in enumerate(self):
            x = block(x, preacts if index == 0 else None)
        return x


class WideStage(nn.Module):
    """One stage; its blocks lie under ``layer``, as in the released checkpoints."""

    def __init__(self, blocks: int, in_channels: int, channels: int, stride: int, drop_rate: float):
        super().__init__()
        self.layer = BlockRow(
            PreactivationBlock(in_channels, channels, stride, drop_rate),
            *(PreactivationBlock(channels, channels, 1, drop_rate) for _ in range(blocks - 1)))

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        return self.layer(x, preacts)


@MODELS.register_module()
class CifarWRN(ClassificationNetwork):
    """Wide ResNet of three stages.

    ``feats``: the stem convolution's output and the raw output of each stage, before any BN or ReLU; ``preact_feats``:
    ``feats[0]``, then each stage's output through the *next* BN; ``final_map``: after the last BN and ReLU.

    Deviation from the released code: there, those three BNs run a second time on every forward pass to get
    ``preact_feats``, which in train mode updates their running statistics twice a step. Here the tensor that the pass
    computes anyway is the tap: same values and gradients, no cost, one update.

    Args:
        depth: 6n + 4, with n blocks a stage.
        widen_factor: the stages are 16, 32, 64 times this wide.
        num_classes: K.
        in_channels: channels of the image.
        drop_rate: dropout between the two convolutions of a block.
        update_preact_stats: True updates the statistics of those three BNs twice a step, as the released code does.

    Raises:
        ValueError: where depth is not 6n + 4.
    """

    def __init__(self, depth: int = 10, widen_factor: int = 1, num_classes: int = 100, in_channels: int = 3,
                 drop_rate: float = 0.0, update_preact_stats: bool = False):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f'A wide ResNet has depth 6n + 4 (10, 16, 22, ...), not {depth}.')
        blocks = (depth - 4) // 6
        widths = (16, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.block1 = WideStage(blocks, widths[0], widths[1], 1, drop_rate)
        self.block2 = WideStage(blocks, widths[1], widths[2], 2, drop_rate)
        self.block3 = WideStage(blocks, widths[2], widths[3], 2, drop_rate)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        self.update_preact_stats = update_preact_stats
        self.margin_norms = ('block2.layer.0.bn1', 'block3.layer.0.bn1', 'bn1')
        init_normal_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = self.conv1(x)
        keep(x, feats, preacts)
        x = self.block1(x)
        keep(x, feats)
        for stage in (self.block2, self.block3):
            self._update_again(stage.layer[0].bn1, x)
            x = stage(x, preacts)
            keep(x, feats)
        self._update_again(self.bn1, x)
        normalised = self.bn1(x)
        keep(normalised, preacts)
        return F.relu(normalised)

    def _update_again(self, norm: nn.Module, x: torch.Tensor) -> None:
        if self.update_preact_stats and self.training:
            with torch.no_grad():
                norm(x)


@MODELS.register_module()
def wrn_16_1(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarWRN:
    """WRN-16-1."""
    return CifarWRN(16, 1, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def wrn_16_2(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarWRN:
    """WRN-16-2."""
    return CifarWRN(16, 2, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def wrn_40_1(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarWRN:
    """WRN-40-1."""
    return CifarWRN(40, 1, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def wrn_40_2(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarWRN:
    """WRN-40-2."""
    return CifarWRN(40, 2, num_classes, in_channels, **kwargs)
