"""The CIFAR ResNets of He et al. (CVPR 2016, section 4.2, arXiv:1512.03385), and their x4 wide forms.

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f (and HobbitLong/RepDistiller), so that
their checkpoints load strictly.
"""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, Stage, activate, init_kaiming, keep
from zoo.registry import MODELS


class PadShortcut(nn.Module):
    """Option A of He et al.: subsample by the stride and pad new channels with zeros, half on each side."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C_out, ceil(H / stride), ceil(W / stride))``."""
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a residual sum."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        if stride == 1 and in_channels == channels:
            self.downsample = None
        elif shortcut == 'A':
            self.downsample = PadShortcut(in_channels, channels, stride)
        else:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """``(N, C_in, H, W)`` -> ``(N, C, H', W')``; the sum before the last ReLU is appended to ``preacts``."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return activate(branch + (x if self.downsample is None else self.downsample(x)), preacts)


@MODELS.register_module()
class CifarResNet(ClassificationNetwork):
    """ResNet of three stages for small images.

    ``feats``: after the stem's ReLU and after each stage's last ReLU (4 maps); ``preact_feats``: before those ReLUs,
    except that entry 0 is ``feats[0]`` itself.

    Args:
        depth: 6n + 2, with n blocks a stage.
        widths: channels of the stem and the three stages.
        num_classes: K.
        in_channels: channels of the image.
        shortcut: where stride or width changes, 'B' (1x1 convolution and BatchNorm, as in the distillation benchmark)
            or 'A' (subsample and zero-pad, no parameters, as in the paper's CIFAR experiments).

    Raises:
        ValueError: where depth is not 6n + 2, ``widths`` are not four, or ``shortcut`` is neither 'A' nor 'B'.
    """

    def __init__(self, depth: int = 8, widths: Sequence[int] = (16, 16, 32, 64), num_classes: int = 100,
                 in_channels: int = 3, shortcut: str = 'B'):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f'A CIFAR ResNet has depth 6n + 2 (8, 14, 20, ...), not {depth}.')
        if len(widths) != 4:
            raise ValueError(f'widths are four numbers (stem, then three stages), not {list(widths)}.')
        if shortcut not in ('A', 'B'):
            raise ValueError(f"shortcut is 'A' (zero padding) or 'B' (1x1 convolution), not {shortcut!r}.")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for stage in (1, 2, 3):
            layers = [BasicBlock(widths[stage - 1], widths[stage], 1 if stage == 1 else 2, shortcut)]
            layers += [BasicBlock(widths[stage], widths[stage], 1, shortcut) for _ in range(blocks - 1)]
            setattr(self, f'layer{stage}', Stage(*layers))
        self.fc = nn.Linear(widths[3], num_classes)
        self.margin_norms = tuple(f'layer{stage}.{blocks - 1}.bn2' for stage in (1, 2, 3))
        init_kaiming(self)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        keep(x, feats, preacts)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x, preacts)
            keep(x, feats)
        return x


_NARROW = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)


@MODELS.register_module()
def resnet8(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-8, widths 16; 16, 32, 64."""
    return CifarResNet(8, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet14(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-14, widths 16; 16, 32, 64."""
    return CifarResNet(14, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet20(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-20, widths 16; 16, 32, 64."""
    return CifarResNet(20, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet32(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-32, widths 16; 16, 32, 64."""
    return CifarResNet(32, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet44(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-44, widths 16; 16, 32, 64."""
    return CifarResNet(44, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet56(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-56, widths 16; 16, 32, 64."""
    return CifarResNet(56, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet110(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-110, widths 16; 16, 32, 64."""
    return CifarResNet(110, _NARROW, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet8x4(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-8 of widths 32; 64, 128, 256."""
    return CifarResNet(8, _WIDE, num_classes, in_channels, **kwargs)


@MODELS.register_module()
def resnet32x4(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarResNet:
    """CIFAR ResNet-32 of widths 32; 64, 128, 256."""
    return CifarResNet(32, _WIDE, num_classes, in_channels, **kwargs)
