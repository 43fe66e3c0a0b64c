"""Released checkpoints: ``zoo.load(name)``, and ``zoo://name`` wherever a config takes a checkpoint.

Every checkpoint has a card (:mod:`zoo.hub.cards`), from which all else follows: what there is, where the file lies, which
bytes it must have (:mod:`zoo.hub.download`). Small files come with the package, others are downloaded when first used.
"""
from pathlib import Path
from typing import TYPE_CHECKING

from .cards import WEIGHTS, Card, CardError, card, index, names, select
from .download import DownloadError, cache_folder, fetch

if TYPE_CHECKING:
    from torch import nn

__all__ = ['WEIGHTS', 'Card', 'CardError', 'DownloadError', 'cache_folder', 'card', 'checkpoint_path', 'fetch', 'index',
           'load', 'names', 'select']


def checkpoint_path(name: str, *, offline: bool | None = None, trust_pickle: bool = False) -> Path:
    """The file of a released checkpoint on this machine, its bytes checked; downloaded on first use.

    Raises:
        UnknownNameError: with the nearest names.
        CardError: if its card is broken.
        DownloadError: if the file cannot be had.
    """
    return fetch(card(name), offline=offline, trust_pickle=trust_pickle)


def load(name: str, pretrained: bool = True, *, offline: bool | None = None, trust_pickle: bool = False) -> 'nn.Module':
    """A ready network in eval mode, float32; ``net.preprocess`` has its ``input_shape``, ``mean`` and ``std``.

    Args:
        name: of :func:`names`.
        pretrained: False for the same network with random weights, without any download.
        offline: True touches no network; None asks the environment.
        trust_pickle: allow a checkpoint that can run code when it is opened.

    Raises:
        UnknownNameError: with the nearest names.
        CardError, DownloadError: if the card is broken or the file cannot be had.
        ValueError: if the file is no released checkpoint.
    """
    from zoo.models.build import build_network
    from zoo.models.released import load_released
    found = card(name)
    if pretrained:
        path = fetch(found, offline=offline, trust_pickle=trust_pickle)
        if path.suffix == '.safetensors':
            return load_released(path)
        net = build_network({**found.zoo['build'], 'checkpoint': dict(path=str(path), trust_pickle=trust_pickle)})
    else:
        net = build_network(dict(found.zoo['build']))
    net.preprocess, net.class_names = dict(found.zoo['preprocess']), found.zoo.get('class_names')
    return net.eval()
