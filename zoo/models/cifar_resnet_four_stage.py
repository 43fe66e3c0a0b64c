"""ResNet-18/34/50 with a 3x3 stem for CIFAR (blocks of He et al., CVPR 2016, arXiv:1512.03385).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, Stage, activate, init_kaiming, keep
from zoo.registry import MODELS


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and in_channels == out_channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``; the sum before the last ReLU is appended to ``preacts``."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return activate(branch + self.shortcut(x), preacts)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the channels."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.shortcut = _shortcut(in_channels, 4 * channels, stride)

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, 4 C, H', W')``; the sum before the last ReLU is appended to ``preacts``."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        return activate(self.bn3(self.conv3(branch)) + self.shortcut(x), preacts)


@MODELS.register_module()
class FourStageResNet(ClassificationNetwork):
    """ResNet of four stages with a 3x3 stem and no max-pooling.

    ``feats``: after the stem's ReLU and after each stage's last ReLU (5 maps); ``preact_feats``: before those ReLUs,
    except that entry 0 is ``feats[0]`` itself.

    Args:
        blocks: blocks of each of the four stages.
        bottleneck: blocks of three convolutions, four times as wide at their end.
        widths: channels of the four stages; the stem has those of the first.
        num_classes: K.
        in_channels: channels of the image.
    """

    classifier_name = 'linear'

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2), bottleneck: bool = False,
                 widths: Sequence[int] = (64, 128, 256, 512), num_classes: int = 100, in_channels: int = 3):
        super().__init__()
        if len(blocks) != 4 or len(widths) != 4:
            raise ValueError(f'blocks and widths are four numbers each, not {list(blocks)} and {list(widths)}.')
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths), 1):
            layers = [block(channels, width, 1 if stage == 1 else 2)]
            channels = width * block.expansion
            layers += [block(channels, width, 1) for _ in range(count - 1)]
            setattr(self, f'layer{stage}', Stage(*layers))
        self.linear = nn.Linear(channels, num_classes)
        last_norm = 'bn3' if bottleneck else 'bn2'
        self.margin_norms = tuple(f'layer{stage}.{count - 1}.{last_norm}' for stage, count in enumerate(blocks, 1))
        init_kaiming(self)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        keep(x, feats, preacts)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x, preacts)
            keep(x, feats)
        return x


@MODELS.register_module()
def ResNet18(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> FourStageResNet:
    """ResNet-18 with a 3x3 stem; for ImageNet's take ``TorchvisionModel('resnet18')``."""
    return FourStageResNet((2, 2, 2, 2), False, num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def ResNet34(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> FourStageResNet:
    """ResNet-34 with a 3x3 stem."""
    return FourStageResNet((3, 4, 6, 3), False, num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def ResNet50(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> FourStageResNet:
    """ResNet-50 with a 3x3 stem."""
    return FourStageResNet((3, 4, 6, 3), True, num_classes=num_classes, in_channels=in_channels, **kwargs)
