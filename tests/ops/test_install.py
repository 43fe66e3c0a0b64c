"""What is installed, where, and that mmdet and mmseg find all they ask for."""
import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo.ops
from zoo.ops import coverage
from zoo.ops.compatibility import get_installed_path, is_installed
from zoo.ops.kernels import KERNELS

ROOT = Path(__file__).resolve().parents[2]
MMCV = Path(importlib.util.find_spec('mmcv').origin).parent
pytestmark = pytest.mark.skipif(zoo.ops.installed() != 'zoo', reason='a compiled mmcv is in use')


def test_installing_twice_adds_one_finder():
    before = list(sys.meta_path)
    zoo.ops.install()
    assert sys.meta_path == before
    import mmcv._ext
    assert mmcv._ext.nms is KERNELS['nms'] and zoo.ops.installed() == 'zoo'
    from mmengine.utils.dl_utils import mmcv_full_available
    assert mmcv_full_available()


def test_a_compiled_mmcv_is_left_alone(monkeypatch):
    class Compiled(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            return importlib.machinery.ModuleSpec(name, None, origin='mmcv/_ext.so') if name == 'mmcv._ext' else None

    others = [finder for finder in sys.meta_path if type(finder).__module__ != 'zoo.ops.extension']
    monkeypatch.setattr(sys, 'meta_path', [Compiled(), *others])
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    before = list(sys.meta_path)
    zoo.ops.install()
    assert zoo.ops.installed() == 'compiled' and sys.meta_path == before


def test_without_mmcv_it_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'mmcv' else find(name, *a))
    assert zoo.ops.installed() == 'none'
    with pytest.raises(ImportError, match='pip install mmcv-lite'):
        zoo.ops.install()


def test_importing_the_room_is_cheap():
    code = 'import sys, zoo.ops; print([m for m in sys.modules if m.split(".")[0] in ("torch", "mmengine", "mmcv", "mmdet")])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_what_is_missing_names_the_operator_and_the_way_to_it():
    import mmcv._ext
    from mmcv.ops import Correlation
    with pytest.raises(NotImplementedError, match='correlation_forward.*install mmcv '):
        Correlation()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    with pytest.raises(AttributeError):
        mmcv._ext.__wrapped__  # noqa: B018


def test_the_list_holds_every_kernel_and_no_other():
    import mmcv._ext
    listed = [name for operator in coverage.OPERATORS for name in operator.kernels]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*KERNELS, 'get_compiler_version', 'get_compiling_cuda_version'}
    asked = {name for names in coverage.mmcv_kernels().values() for name in names}
    assert set(listed) <= asked
    assert {name for names in coverage.missing().values() for name in names} == asked - set(listed)
    import mmcv.ops
    for operator in coverage.OPERATORS:
        for name in operator.names:
            assert hasattr(mmcv.ops, name) or hasattr(importlib.import_module('mmcv.ops.merge_cells'), name), name


def test_the_page_is_the_list():
    page = (ROOT / 'docs' / 'ops.md').read_text(encoding='utf-8')
    assert page == coverage.written(page), 'run: python -m zoo.ops.coverage docs/ops.md'
    with pytest.raises(ValueError, match='marks'):
        coverage.written('no table here')


@pytest.mark.skipif(not (MMCV / 'ops/csrc/pytorch/pybind.cpp').is_file(), reason='this mmcv ships no sources')
def test_arguments_are_those_of_the_compiled_module():
    text = (MMCV / 'ops/csrc/pytorch/pybind.cpp').read_text(encoding='utf-8')
    bound = {name: re.findall(r'py::arg\("(\w+)"\)', rest)
             for name, rest in re.findall(r'm\.def\(\s*"(\w+)",(.*?)\);', text, flags=re.S)}
    for name, function in KERNELS.items():
        assert list(inspect.signature(function).parameters) == bound[name], name


def imported_from_ops(package):
    """(module of mmcv, name) for each import from mmcv.ops, and each attribute of ``mmcv.ops``, in a package."""
    root = Path(importlib.util.find_spec(package).origin).parent
    for path in root.rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        for node in ast.walk(ast.parse(text)) if 'mmcv.ops' in text else ():
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmcv.ops'):
                for alias in node.names:
                    yield node.module, alias.name


@pytest.mark.parametrize('package, least', [('mmdet', 15), ('mmseg', 5), ('mmengine', 2)])
def test_every_name_that_is_imported_from_mmcv_ops_is_there(package, least):
    pytest.importorskip(package)
    wanted = set(imported_from_ops(package))
    assert len(wanted) >= least
    left = coverage.missing()
    for module, name in wanted:
        found = getattr(importlib.import_module(module), name)
        found = getattr(found, '__self__', found)  # of an autograd function's apply
        home = found.__module__.rpartition('.')[2]
        assert set(left.get(home, ())) <= {'nms_quadri'}, f'{package} uses {name}, whose kernels {left[home]} are missing'


#: modules that need a package which the zoo does not, and that package
OTHERS = {'mmdet.utils.benchmark': 'psutil'}


@pytest.mark.parametrize('package', ['mmdet', 'mmseg', 'mmcv.ops'])
@pytest.mark.filterwarnings('ignore')
def test_every_module_imports(package):
    root = pytest.importorskip(package)
    names = [m.name for m in pkgutil.walk_packages(root.__path__, f'{package}.') if '.mim' not in m.name]
    assert len(names) > 60
    for name in names:
        if name in OTHERS and importlib.util.find_spec(OTHERS[name]) is None:
            continue
        importlib.import_module(name)


def test_packages_are_found_without_pkg_resources():
    mmdet = pytest.importorskip('mmdet')
    assert get_installed_path('mmdet') == str(Path(mmdet.__file__).parent)
    assert is_installed('mmdet') and not is_installed('no_such_package')
    with pytest.raises(ModuleNotFoundError, match='no_such_package'):
        get_installed_path('no_such_package')
    mmseg = pytest.importorskip('mmseg')
    assert get_installed_path('mmsegmentation') == get_installed_path('mmseg') == str(Path(mmseg.__file__).parent)
    from mmengine.hub import get_config
    assert get_config('mmdet::gfl/gfl_r50_fpn_1x_coco.py').model.type == 'GFL'
