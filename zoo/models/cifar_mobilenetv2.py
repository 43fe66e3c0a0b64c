"""MobileNetV2 for CIFAR at half width (Sandler et al., CVPR 2018, arXiv:1801.04381).

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f: ReLU instead of ReLU6, and an
expansion convolution in every block, also where the expansion is 1.
"""
import torch
from torch import nn

from zoo.models.network import ClassificationNetwork, init_normal_fan_out, keep
from zoo.registry import MODELS

# channels at full width, blocks, stride of the first block; group 0 expands by 1, the others by ``expansion``
_GROUPS = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_TAPPED_GROUPS = (1, 2, 4, 6)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection without activation."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == channels
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``."""
        return x + self.conv(x) if self.residual else self.conv(x)


@MODELS.register_module()
class MobileNetV2(ClassificationNetwork):
    """MobileNetV2 for 32x32 images.

    ``feats``: the stem after its ReLU, then the linear outputs of groups 1, 2, 4 and 6 (5 maps, the last four may be
    negative). There is no ``preact_feats``. ``final_map``: after the last 1x1 convolution, BN and ReLU.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        expansion: of every group but the first.
        width_multiplier: channels times this, rounded down; the last convolution is never narrower than 1280.
    """

    classifier_name = 'classifier.0'
    tap_names = ('logits', 'pooled', 'final_map', 'feats')

    def __init__(self, num_classes: int = 100, in_channels: int = 3, expansion: int = 6,
                 width_multiplier: float = 0.5):
        super().__init__()
        width = int(32 * width_multiplier)
        self.conv1 = nn.Sequential(nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width),
                                   nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList()
        for group, (channels, count, stride) in enumerate(_GROUPS):
            blocks = []
            for index in range(count):
                blocks.append(InvertedResidual(width, int(channels * width_multiplier), 1 if index else stride,
                                               expansion if group else 1))
                width = int(channels * width_multiplier)
            self.blocks.append(nn.Sequential(*blocks))
        last = max(1280, int(1280 * width_multiplier))
        self.conv2 = nn.Sequential(nn.Conv2d(width, last, 1, bias=False), nn.BatchNorm2d(last),
                                   nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(last, num_classes))
        self.margin_norms = tuple(f'blocks.{group}.{_GROUPS[group][1] - 1}.conv.7' for group in _TAPPED_GROUPS)
        init_normal_fan_out(self)
        nn.init.normal_(self.classifier[0].weight, 0, 0.01)
        nn.init.zeros_(self.classifier[0].bias)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = self.conv1(x)
        keep(x, feats)
        for group, blocks in enumerate(self.blocks):
            x = blocks(x)
            if group in _TAPPED_GROUPS:
                keep(x, feats)
        return self.conv2(x)
