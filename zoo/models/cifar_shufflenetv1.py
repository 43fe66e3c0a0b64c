"""ShuffleNet for CIFAR, three groups (Zhang et al., CVPR 2018, arXiv:1707.01083).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, Stage, activate, channel_shuffle, keep
from zoo.registry import MODELS


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1; stride 2 concatenates with the pooled input."""

    def __init__(self, in_channels: int, channels: int, stride: int, groups: int, first_groups: int):
        super().__init__()
        branch = channels - in_channels if stride == 2 else channels
        hidden = branch // 4
        self.stride, self.first_groups = stride, first_groups
        self.conv1 = nn.Conv2d(in_channels, hidden, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, branch, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``; the tensor before the last ReLU is appended to ``preacts``."""
        branch = channel_shuffle(F.relu(self.bn1(self.conv1(x))), self.first_groups)
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        if self.stride == 2:
            return activate(torch.cat([branch, F.avg_pool2d(x, 3, 2, 1)], 1), preacts)
        return activate(branch + x, preacts)


@MODELS.register_module()
class ShuffleV1(ClassificationNetwork):
    """ShuffleNet for 32x32 images: a 1x1 stem without max-pooling, then three stages.

    ``feats``: the stem and each stage after its last ReLU (4 maps); ``preact_feats``: before those ReLUs, except that
    entry 0 is ``feats[0]`` itself. Not an OFD teacher (no ``margin_norms``).

    Args:
        num_classes: K.
        in_channels: channels of the image.
        widths: channels of the stem and the three stages.
        units: units of each stage.
        groups: groups of the 1x1 convolutions; the one after the stem has one group.
    """

    classifier_name = 'linear'

    def __init__(self, num_classes: int = 100, in_channels: int = 3, widths: Sequence[int] = (24, 240, 480, 960),
                 units: Sequence[int] = (4, 8, 4), groups: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for stage, count in enumerate(units, 1):
            layers = [ShuffleUnit(widths[stage - 1], widths[stage], 2, groups, 1 if stage == 1 else groups)]
            layers += [ShuffleUnit(widths[stage], widths[stage], 1, groups, groups) for _ in range(count - 1)]
            setattr(self, f'layer{stage}', Stage(*layers))
        self.linear = nn.Linear(widths[-1], num_classes)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        keep(x, feats, preacts)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x, preacts)
            keep(x, feats)
        return x
