"""MobileNet for ImageNet (Howard et al., 2017, arXiv:1704.04861).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from typing import Any

import torch
from torch import nn

from zoo.models.network import ClassificationNetwork, keep
from zoo.registry import MODELS

# channels and stride of the 13 depthwise-separable units
_UNITS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_TAPPED_UNITS = (3, 5, 11, 13)


class SeparableUnit(nn.Sequential):
    """3x3 depthwise, BN, ReLU, 1x1, BN, ReLU."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``; the last BN's output is appended to ``preacts``."""
        last = len(self) - 1
        for index, layer in enumerate(self):
            if index == last:
                keep(x, preacts)
            x = layer(x)
        return x


@MODELS.register_module()
class ImageNetMobileNetV1(ClassificationNetwork):
    """MobileNet; ``model.0`` is the stem, ``model.1`` to ``model.13`` the depthwise-separable units.

    ``feats``: after units 3, 5, 11 and 13, whose strides are 4, 8, 16 and 32 (4 maps, no stem); ``preact_feats``:
    before the last ReLU of those units.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        width_multiplier: channels times this, rounded down.
    """

    stem_feats = 0

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width_multiplier: float = 1.0):
        super().__init__()
        width = int(32 * width_multiplier)
        layers = [nn.Sequential(nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width),
                                nn.ReLU(inplace=True))]
        for channels, stride in _UNITS:
            layers.append(SeparableUnit(width, int(channels * width_multiplier), stride))
            width = int(channels * width_multiplier)
        self.model = nn.ModuleList(layers)
        self.fc = nn.Linear(width, num_classes)
        self.margin_norms = tuple(f'model.{unit}.4' for unit in _TAPPED_UNITS)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = self.model[0](x)
        for index in range(1, len(self.model)):
            if index in _TAPPED_UNITS:
                x = self.model[index](x, preacts)
                keep(x, feats)
            else:
                x = self.model[index](x)
        return x


@MODELS.register_module()
def mobilenet_v1(num_classes: int = 1000, in_channels: int = 3, **kwargs: Any) -> ImageNetMobileNetV1:
    """ImageNet MobileNet of full width."""
    return ImageNetMobileNetV1(num_classes, in_channels, **kwargs)
