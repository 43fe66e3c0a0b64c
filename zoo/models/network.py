"""What the zoo's own classification networks share: the forward pass and its named taps."""
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import UnknownNameError, unknown


class ClassificationNetwork(nn.Module):
    """A network that ends in global average pooling and a linear classifier, and whose inner tensors have names.

    A subclass implements :meth:`extract` and holds its classifier under ``classifier_name``.

    Attributes:
        classifier_name: module path of the final ``nn.Linear``.
        margin_norms: module paths of the BatchNorm before each stage's last ReLU, shallow first, from which OFD
            (Heo et al., ICCV 2019) takes its margins; None where the network cannot teach it.
        stem_feats: how many entries of ``feats`` come before the first stage.
        tap_names: the names that :meth:`forward_taps` knows.
    """

    classifier_name: str = 'fc'
    margin_norms: tuple[str, ...] | None = None
    stem_feats: int = 1
    tap_names: tuple[str, ...] = ('logits', 'pooled', 'final_map', 'feats', 'preact_feats')

    def extract(self, x: torch.Tensor, feats: list | None, preacts: list | None) -> torch.Tensor:
        """The map ``(N, C, H, W)`` that is globally pooled; features are appended to the lists that are not None."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class logits ``(N, K)`` of images ``(N, C, H, W)``."""
        return self.forward_taps(x, ('logits',))['logits']

    def forward_taps(self, x: torch.Tensor, names: Iterable[str] | None = None) -> dict:
        """The named tensors of one forward pass.

        Args:
            x: images ``(N, C, H, W)``.
            names: which taps to return; None means all of ``tap_names``. What is not named is not kept.

        Returns:
            By name: ``logits`` (N, K); ``pooled`` (N, C); ``final_map`` (N, C, H, W), the map that is pooled;
            ``feats`` and ``preact_feats``, lists of (N, C, H, W), stem first.

        Raises:
            UnknownNameError: where ``names`` holds something that this network does not offer.
        """
        wanted = self.tap_names if names is None else tuple(names)
        for name in wanted:
            if name not in self.tap_names:
                raise UnknownNameError(unknown(f'tap of {type(self).__name__}', name, self.tap_names))
        feats = [] if 'feats' in wanted else None
        preacts = [] if 'preact_feats' in wanted else None
        final_map = self.extract(x, feats, preacts)
        pooled = final_map.mean((2, 3))
        logits = getattr(self, self.classifier_name.split('.')[0])(pooled)
        found = {'logits': logits, 'pooled': pooled, 'final_map': final_map, 'feats': feats, 'preact_feats': preacts}
        return {name: found[name] for name in wanted}


def keep(x: torch.Tensor, *taps: list | None) -> None:
    """Append ``x`` to each list that is wanted, that is, not None."""
    for tap in taps:
        if tap is not None:
            tap.append(x)


class Stage(nn.Sequential):
    """Blocks in a row, of which the last may note its pre-activation; hooks on it see the output map alone."""

    def forward(self, x: torch.Tensor, preacts: list | None = None) -> torch.Tensor:
        """The last block's output; its tensor before the final ReLU is appended to ``preacts``."""
        last = len(self) - 1
        for index, block in enumerate(self):
            x = block(x, preacts if index == last else None)
        return x


def activate(preact: torch.Tensor, preacts: list | None) -> torch.Tensor:
    """ReLU that notes its input; never in place, for the input is a tap."""
    keep(preact, preacts)
    return F.relu(preact)


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Interleave the channels of ``groups`` groups (Zhang et al., ShuffleNet, CVPR 2018, section 3.1)."""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def init_kaiming(network: nn.Module) -> None:
    """Convolutions Kaiming normal (fan out), BatchNorm 1 and 0; linear layers keep torch's default."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def init_normal_fan_out(network: nn.Module) -> None:
    """Convolutions N(0, std sqrt(2 / (k * k * out))) whatever their groups; their biases 0; BatchNorm 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, (2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
