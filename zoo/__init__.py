"""A registry-based zoo of vision teachers, students and distillers.

``import zoo`` is cheap: rooms are imported when they are first used (``zoo.models``, ``zoo.distillers`` ...).
"""
import importlib

__version__ = '0.1.0'

_ROOMS = ('connectors', 'data', 'distillers', 'engine', 'hub', 'metrics', 'models', 'ops', 'registry', 'tables', 'taps',
          'tasks')

__all__ = ['__version__', 'load', *_ROOMS]


def load(name: str, pretrained: bool = True, **options):
    """A released network by name, in eval mode; see :func:`zoo.hub.load`."""
    from zoo.hub import load as load_by_name
    return load_by_name(name, pretrained, **options)


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f'zoo.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
