"""ShuffleNetV2 for CIFAR (Ma et al., ECCV 2018, arXiv:1807.11164).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, Stage, channel_shuffle, keep
from zoo.registry import MODELS


class DownUnit(nn.Module):
    """Stride 2 in two branches, concatenated and shuffled."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, 2, 1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_channels, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H/2, W/2)``."""
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)))
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        if preacts is not None:
            preacts.append(torch.cat([left, right], 1))
        return channel_shuffle(torch.cat([F.relu(left), F.relu(right)], 1), 2)


class BasicUnit(nn.Module):
    """Half of the channels pass, half go through three convolutions; concatenated and shuffled."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C, H, W)`` -> the same; ``[passed half, bn3 output]``, not shuffled, is appended to ``preacts``."""
        passed, branch = x.chunk(2, 1)
        branch = F.relu(self.bn1(self.conv1(branch)))
        branch = self.bn2(self.conv2(branch))
        branch = self.bn3(self.conv3(branch))
        if preacts is not None:
            preacts.append(torch.cat([passed, branch], 1))
        return channel_shuffle(torch.cat([passed, F.relu(branch)], 1), 2)


@MODELS.register_module()
class ShuffleV2(ClassificationNetwork):
    """ShuffleNetV2 for 32x32 images: a 1x1 stem without max-pooling, three stages, a 1x1 convolution.

    ``feats``: the stem after its ReLU and each stage after its last shuffle (4 maps); ``preact_feats``: before the
    last ReLU *and* before the shuffle, as in the released code, so that its channel order differs from that of
    ``feats``; entry 0 is ``feats[0]`` itself. ``final_map``: after the last convolution, BN and ReLU. Not an OFD
    teacher (no ``margin_norms``).

    Args:
        num_classes: K.
        in_channels: channels of the image.
        widths: channels of the stem, the three stages (even) and the last convolution.
        units: units of each stage, the first of which has stride 2.
    """

    classifier_name = 'linear'

    def __init__(self, num_classes: int = 100, in_channels: int = 3,
                 widths: Sequence[int] = (24, 116, 232, 464, 1024), units: Sequence[int] = (4, 8, 4)):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for stage, count in enumerate(units, 1):
            setattr(self, f'layer{stage}', Stage(DownUnit(widths[stage - 1], widths[stage]),
                                                 *(BasicUnit(widths[stage]) for _ in range(count - 1))))
        self.conv2 = nn.Conv2d(widths[3], widths[4], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[4])
        self.linear = nn.Linear(widths[4], num_classes)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        keep(x, feats, preacts)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x, preacts)
            keep(x, feats)
        return F.relu(self.bn2(self.conv2(x)))
