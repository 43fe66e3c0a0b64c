"""VGG with BatchNorm for CIFAR (Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556), with one linear classifier.

State-dict keys, shapes and taps are those of megvii-research/mdistiller@a08d46f.
"""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from zoo.models.network import ClassificationNetwork, activate, init_normal_fan_out, keep
from zoo.registry import MODELS


@MODELS.register_module()
class CifarVGG(ClassificationNetwork):
    """Five blocks of 3x3 convolutions with bias and BatchNorm.

    Max-pooling follows blocks 0, 1, 2, and block 3 only where the image is 64 pixels high. ``feats``: each block's
    output after its last ReLU (5 maps, no stem); ``preact_feats``: before that ReLU, except that entry 0 is
    ``feats[0]`` itself.

    Args:
        convs: convolutions of each of the five blocks.
        widths: channels of each block.
        num_classes: K.
        in_channels: channels of the image.

    Raises:
        ValueError: where ``convs`` or ``widths`` are not five.
    """

    classifier_name = 'classifier'

    def __init__(self, convs: Sequence[int] = (1, 1, 1, 1, 1), widths: Sequence[int] = (64, 128, 256, 512, 512),
                 num_classes: int = 100, in_channels: int = 3):
        super().__init__()
        if len(convs) != 5 or len(widths) != 5:
            raise ValueError(f'convs and widths are five numbers each, not {list(convs)} and {list(widths)}.')
        for index, (count, width) in enumerate(zip(convs, widths)):
            layers = []
            for _ in range(count):
                layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                in_channels = width
            setattr(self, f'block{index}', nn.Sequential(*layers[:-1]))
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.margin_norms = tuple(f'block{index}.{3 * convs[index] - 2}' for index in range(1, 5))
        init_normal_fan_out(self)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        height = x.shape[2]
        x = F.relu(self.block0(x))
        keep(x, feats, preacts)
        for index, block in enumerate((self.block1, self.block2, self.block3, self.block4)):
            if index < 3 or height == 64:
                x = F.max_pool2d(x, 2)
            x = activate(block(x), preacts)
            keep(x, feats)
        return x


@MODELS.register_module()
def vgg8(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarVGG:
    """VGG-8: one convolution a block."""
    return CifarVGG((1, 1, 1, 1, 1), num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def vgg11(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarVGG:
    """VGG-11."""
    return CifarVGG((1, 1, 2, 2, 2), num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def vgg13(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarVGG:
    """VGG-13."""
    return CifarVGG((2, 2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def vgg16(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarVGG:
    """VGG-16."""
    return CifarVGG((2, 2, 3, 3, 3), num_classes=num_classes, in_channels=in_channels, **kwargs)


@MODELS.register_module()
def vgg19(num_classes: int = 100, in_channels: int = 3, **kwargs: Any) -> CifarVGG:
    """VGG-19."""
    return CifarVGG((2, 2, 4, 4, 4), num_classes=num_classes, in_channels=in_channels, **kwargs)
