"""What else of mmengine 0.10 stops on current Python packages, mended where that is small and safe."""
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path


def is_installed(package: str) -> bool:
    """Whether a distribution or a module of that name is installed."""
    try:
        importlib.metadata.distribution(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """The folder of the module that a distribution (``'mmsegmentation'``) or a module (``'mmseg'``) of that name holds.

    Raises:
        ModuleNotFoundError: where there is neither.
        RuntimeError: for a namespace package, which has no one folder.
    """
    module = package
    try:
        found = importlib.metadata.distribution(package)
        if not Path(found.locate_file(package)).exists():
            module = (found.read_text('top_level.txt') or package).split()[0]
    except importlib.metadata.PackageNotFoundError:
        pass
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f'{package} is not installed.', name=package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package: it has no one folder.')
    return str(Path(spec.origin).parent)


def mend() -> None:
    """Let ``mmdet::...`` paths in configs be found without ``pkg_resources``, which setuptools 81 dropped.

    mmengine's two functions that need it are replaced by those above; where ``pkg_resources`` is there, nothing is done.
    """
    if importlib.util.find_spec('pkg_resources') is not None:
        return
    for name in ('mmengine.utils.package_utils', 'mmengine.utils', 'mmengine.config.config', 'mmengine.hub.hub'):
        module = importlib.import_module(name)
        for function in (is_installed, get_installed_path):
            if hasattr(module, function.__name__):
                setattr(module, function.__name__, function)
