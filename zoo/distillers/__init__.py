"""All distillers: ``zoo/distillers/<family>/<slug>.py``, one file a method.

Every public function and class of a method's file (its ``__all__``) is importable from here; a new file is found by
itself.
"""
import importlib
import pkgutil

from .base import Batch, Distiller, Needs, Progress, Shapes, TrainingSet, WeightSchedule

METHODS: dict[str, str] = {}  #: slug to module path
__all__ = ['METHODS', 'Batch', 'Distiller', 'Needs', 'Progress', 'Shapes', 'TrainingSet', 'WeightSchedule']

for _family in pkgutil.iter_modules(__path__):
    if not _family.ispkg:
        continue
    for _method in pkgutil.iter_modules([f'{__path__[0]}/{_family.name}']):
        _path = f'{__name__}.{_family.name}.{_method.name}'
        _module = importlib.import_module(_path)
        METHODS[_method.name] = _path
        for _name in _module.__all__:
            if _name in globals():
                raise ImportError(f'{_path} exports {_name!r}, which another distiller exports already')
            globals()[_name] = getattr(_module, _name)
            __all__.append(_name)
