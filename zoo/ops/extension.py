"""A stand-in for the compiled module ``mmcv._ext``."""
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

from .compatibility import mend

NAME = 'mmcv._ext'
#: the modules that enter their kernels
ROOMS = ('deform_attention', 'deform_conv', 'focal_loss', 'nms', 'reassembly', 'roi_pooling', 'rotated_boxes',
         'sync_batch_norm')


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers ``import mmcv._ext`` where no compiled one is found: it comes last in ``sys.meta_path``."""

    def find_spec(self, fullname, path=None, target=None):
        return importlib.machinery.ModuleSpec(fullname, self, origin='zoo.ops') if fullname == NAME else None

    def create_module(self, spec):
        return None

    def exec_module(self, module: ModuleType) -> None:
        from .kernels import KERNELS
        for room in ROOMS:
            importlib.import_module(f'zoo.ops.{room}')
        module.__dict__.update(KERNELS, get_compiler_version=_version, get_compiling_cuda_version=_version,
                               __getattr__=_missing)


def _version() -> str:
    return 'not compiled (zoo.ops)'


def _missing(name: str):
    if name.startswith('__'):
        raise AttributeError(f'module {NAME!r} has no attribute {name!r}')

    def refuse(*args, **kwargs):
        raise NotImplementedError(
            f'{name} is an operator of compiled mmcv that zoo.ops does not provide; install mmcv (not mmcv-lite) 2.1, '
            'built for your torch and CUDA: https://mmcv.readthedocs.io/en/latest/get_started/installation.html')

    return refuse


def installed() -> str:
    """``'compiled'``, ``'zoo'`` or ``'none'``: whose operators ``mmcv.ops`` uses, or would use, now."""
    if importlib.util.find_spec('mmcv') is None:
        return 'none'
    spec = importlib.util.find_spec(NAME)
    if spec is None:
        return 'none'
    return 'zoo' if isinstance(spec.loader, _Finder) else 'compiled'


def install() -> None:
    """Make ``import mmcv.ops`` work; call it before mmdet or mmseg is imported, as often as you like.

    Raises:
        ImportError: without any mmcv.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError('mmdet and mmseg need mmcv: pip install mmcv-lite==2.1.0 (the zoo brings the operators).')
    if installed() == 'none':
        sys.meta_path.append(_Finder())
    mend()
