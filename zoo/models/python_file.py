"""A network that a user's own Python file defines."""
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from zoo.registry import MODELS, UnknownNameError, near_names


@MODELS.register_module()
def PythonFileModel(path: str, name: str, **kwargs: Any) -> nn.Module:
    """What class or function ``name`` of the Python file ``path`` returns for ``kwargs``.

    The file runs with its own folder importable, as a script would.

    Args:
        path: of the ``.py`` file.
        name: of a class or function in it; dots reach into classes.
        **kwargs: its arguments.

    Raises:
        FileNotFoundError: where the file is not there.
        UnknownNameError: where it defines no such name; the message lists what it defines.
        TypeError: where the result is no ``nn.Module``.
    """
    network = load_definition(path, name)(**kwargs)
    if not isinstance(network, nn.Module):
        raise TypeError(f'{name} of {path} returned a {type(network).__name__}; it must return an nn.Module.')
    return network


def load_definition(path: str, name: str) -> Callable:
    """The class or function ``name`` of the file; errors as in :func:`PythonFileModel`."""
    module = _load_module(Path(path).expanduser())
    found: Any = module
    for part in name.split('.'):
        found = getattr(found, part, None)
    if not callable(found):
        defined = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith('_')
                         and getattr(value, '__module__', None) == module.__name__)
        near = near_names(name, defined)
        hint = f' Did you mean {", ".join(near)}?' if near else ''
        raise UnknownNameError(f'{path} defines no class or function {name!r}; '
                               f'it defines {", ".join(defined) or "none"}.{hint}')
    return found


def _load_module(path: Path):
    if not path.is_file():
        folder = path.parent
        files = sorted(p.name for p in folder.glob('*.py')) if folder.is_dir() else []
        near = near_names(path.name, files)
        hint = f' Beside it: {", ".join(near)}.' if near else ''
        raise FileNotFoundError(f'There is no Python file {path}.{hint}')
    path = path.resolve()
    # One module for one state of one file: teacher and student then share its classes, an edited file is read anew.
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]
    module_name = f'zoo_python_file_{digest}'
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise ImportError(f'{path} is not importable as Python; its name must end in .py.')
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module
