"""Checkpoints that come with the zoo: ``zoo.load(name)``, and ``zoo://name`` wherever a config takes a checkpoint."""
from pathlib import Path

from torch import nn

from zoo.registry import UnknownNameError, unknown

WEIGHTS = Path(__file__).parent / 'weights'


def names() -> list[str]:
    """All checkpoints that come with the package."""
    return sorted(path.stem for path in WEIGHTS.glob('*.safetensors'))


def checkpoint_path(name: str) -> Path:
    """The file of a checkpoint.

    Raises:
        UnknownNameError: with the nearest names.
    """
    path = WEIGHTS / f'{name}.safetensors'
    if name not in names():
        raise UnknownNameError(unknown('checkpoint zoo://', name, names()))
    return path


def load(name: str, pretrained: bool = True) -> nn.Module:
    """A ready network in eval mode; ``net.preprocess`` has its ``input_shape``, ``mean`` and ``std``.

    Args:
        name: of :func:`names`.
        pretrained: False for the same network with random weights.

    Raises:
        UnknownNameError: with the nearest names.
    """
    from zoo.models.build import build_network
    from zoo.models.released import load_released, read_metadata
    path = checkpoint_path(name)
    if pretrained:
        return load_released(path)
    metadata = read_metadata(path)
    net = build_network(dict(metadata['build']))
    net.preprocess, net.class_names = metadata.get('preprocess', {}), metadata.get('class_names')
    return net
