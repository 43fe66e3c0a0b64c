"""tools/check_zoo.py and zoo.checks, on scratch trees with one thing wrong at a time."""
import hashlib
import importlib.util
import sys
import types

import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from zoo import checks
from zoo.distillers import Distiller
from zoo.models.openmmlab import MissingPackageError
from zoo.registry import DISTILLERS

HEAD = '"""A config.\n\n    python tools/train.py {name}\n"""\n'
STEP = """
_base_ = ['{root}/configs/_base_/datasets/digits.py', '{root}/configs/_base_/schedules/digits.py',
          '{root}/configs/_base_/pairs/resnet20_resnet8half_digits.py', '{root}/configs/_base_/runtime.py']
model = dict(teacher=dict(type='CifarResNet', depth=8, widths=(4, 4, 4, 4)), distillers=[{distiller}])
"""
DOC = """Toy method.

Doe: A Toy. NeurIPS 2022, arXiv:2201.00001. Reference code: doe/toy@0a1b2c3.
"""
CLASS_DOC = 'Toy: nothing to learn (Doe, NeurIPS 2022, arXiv:2201.00001).'


def write(root, name: str, text: str = '', head: str | None = None):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((HEAD.format(name=name) if head is None else head) + text)
    return path


@pytest.fixture
def method(monkeypatch, tmp_path):
    """Makes a registered distiller out of docstrings and module attributes."""
    def make(doc: str = DOC, class_doc: str = CLASS_DOC, **attributes) -> checks.Method:
        name = 'zoo.distillers.logit.toy_for_a_test'
        module = types.ModuleType(name, doc)
        module.__file__ = str(tmp_path / 'toy_for_a_test.py')
        vars(module).update(attributes)
        module.Toy = type('Toy', (Distiller,), {'__doc__': class_doc, '__module__': name})
        monkeypatch.setitem(sys.modules, name, module)
        return checks.Method('Toy', module.Toy, 'toy_for_a_test', 'logit')
    return make


def texts(problems) -> list[str]:
    return [str(problem) for problem in problems]


def test_registered_methods_are_all_distillers_of_the_zoo():
    methods = checks.registered_methods()
    assert {'KD', 'FitNets', 'SP'} <= {method.name for method in methods}
    assert {method.name for method in methods} == {
        name for name in DISTILLERS.names() if DISTILLERS.get(name).__module__.startswith('zoo.')}
    kd = next(method for method in methods if method.name == 'KD')
    assert (kd.slug, kd.family, kd.where) == ('kd', 'logit', 'zoo/distillers/logit/kd.py')


def test_a_documented_method(method):
    assert texts(checks.check_source(method())) == []
    assert texts(checks.check_source(method('A toy. CVPR 2021, https://x.org. No reference code: our reading.'))) == []


@pytest.mark.parametrize(('doc', 'class_doc', 'message'), [
    (DOC.replace('2022, arXiv:2201.00001', ', https://x.org'), CLASS_DOC, 'names no year'),
    (DOC.replace('arXiv:2201.00001', ''), CLASS_DOC, 'no link'),
    (DOC.replace('@0a1b2c3', ''), CLASS_DOC, 'names no reference code'),
    (DOC.replace('@0a1b2c3', '@main'), CLASS_DOC, 'names no reference code'),
    (DOC, 'Toy without a paper.', 'the docstring of Toy must begin as'),
    (DOC, None, 'the docstring of Toy must begin as'),
    ('', CLASS_DOC, 'has no docstring'),
])
def test_an_undocumented_method(method, doc, class_doc, message):
    problem, = texts(checks.check_source(method(doc, class_doc)))
    assert message in problem and problem.startswith(method().where)


def test_config_golden_and_table_of_a_method(method, tmp_path):
    problems = texts(checks.check_methods({}, tmp_path, [method()]))
    assert [p for p in problems if 'no config uses Toy' in p] and [p for p in problems if 'no golden case' in p]
    assert [p for p in problems if 'has no table' in p] and len(problems) == 3
    nested = Config({'model': {'distillers': [{'type': 'Outer', 'inner': [{'type': 'Toy'}]}]}})
    reasons = {'NO_GOLDENS': 'there is no code.', 'NO_TABLE': 'it has no results.'}
    assert texts(checks.check_methods({tmp_path: nested}, tmp_path, [method(**reasons)])) == []
    write(tmp_path, 'tests/goldens/toy_for_a_test__a.npz', head='')
    assert texts(checks.check_methods({tmp_path: nested}, tmp_path, [method(NO_TABLE='it has no results.')])) == []
    assert len(texts(checks.check_methods({tmp_path: nested}, tmp_path, [method(NO_TABLE='no')]))) == 1


def test_readme_list(method, tmp_path):
    toy = method()
    with pytest.raises(FileNotFoundError, match='README.md'):
        checks.fix_readme(tmp_path, [toy])
    assert 'is missing' in texts(checks.check_readme(tmp_path, [toy]))[0]
    readme = tmp_path / 'README.md'
    readme.write_text('# Zoo\n')
    with pytest.raises(ValueError, match='distillers:begin'):
        checks.fix_readme(tmp_path, [toy])
    readme.write_text(f'# Zoo\n\n{checks.BEGIN}\nstale row\n{checks.END}\n\nthe end\n')
    assert '--fix' in texts(checks.check_readme(tmp_path, [toy]))[0]
    assert checks.fix_readme(tmp_path, [toy]) and not checks.fix_readme(tmp_path, [toy])
    assert texts(checks.check_readme(tmp_path, [toy])) == []
    text = readme.read_text()
    assert text.startswith('# Zoo\n\n') and text.endswith('\n\nthe end\n') and 'stale row' not in text
    row, = (line for line in text.splitlines() if '[Toy]' in line)
    assert row.endswith('| Toy: nothing to learn | Doe, NeurIPS 2022, '
                        '[arXiv:2201.00001](https://arxiv.org/abs/2201.00001) | – |')
    readme.write_text(text.replace('nothing to learn', 'something'))
    assert len(texts(checks.check_readme(tmp_path, [toy]))) == 1


def test_files_in_order(tmp_path):
    write(tmp_path, 'configs/_base_/a.py', "_base_ = './b.py'\n", head='')
    write(tmp_path, 'configs/_base_/b.py', head='')
    write(tmp_path, 'configs/classification/kd/x.py', "_base_ = ['../../_base_/a.py']\n")
    write(tmp_path, 'configs/classification/vanilla/x.py')
    write(tmp_path, 'zoo/protocols/generations.py', head='')
    write(tmp_path, 'configs/classification/generations/x.py')
    write(tmp_path, 'zoo/hub/weights/x.safetensors', head='weights')
    file = f'{{name: x.safetensors, embedded: zoo/hub/weights, sha256: {hashlib.sha256(b"weights").hexdigest()}}}'
    write(tmp_path, 'model_cards/x.md',
          head=f'---\nconfig: configs/classification/kd/x.py\nmethod: kd\nfiles: [{file}]\n---\nText\n')
    assert texts(checks.check_files(tmp_path, ['kd'])) == []


def test_files_out_of_order(tmp_path):
    write(tmp_path, 'configs/_base_/dead.py', head='')
    write(tmp_path, 'configs/classification/kdd/x.py')
    write(tmp_path, 'configs/classification/kd/copied.py', head='"""python tools/train.py configs/other.py"""\n')
    write(tmp_path, 'configs/classification/kd/broken.py', 'x = (\n')
    write(tmp_path, 'model_cards/gone.md', head='---\nconfig: configs/gone.py\n---\n')
    write(tmp_path, 'model_cards/bare.md', head='No front matter.\n')
    write(tmp_path, 'model_cards/strange.md', head='---\nmethod: kdd\n---\n')
    write(tmp_path, 'model_cards/empty.md', head='---\nlicense: mit\n---\n')
    file = '{name: %s.safetensors, embedded: zoo/hub/weights, sha256: 0}'
    write(tmp_path, 'model_cards/lost.md', head=f'---\nmethod: kd\nfiles: [{file % "lost"}]\n---\n')
    write(tmp_path, 'model_cards/other.md', head=f'---\nmethod: kd\nfiles: [{file % "other"}]\n---\n')
    write(tmp_path, 'zoo/hub/weights/other.safetensors', head='weights')
    write(tmp_path, 'zoo/hub/weights/secret.safetensors', head='weights')
    problems = texts(checks.check_files(tmp_path, ['kd']))
    for where, what in [('configs/_base_/dead.py', 'no config uses'), ('configs/classification/kdd:', "no method 'kdd'"),
                        ('kd/copied.py', 'does not hold its command'), ('kd/broken.py', 'cannot be parsed'),
                        ('gone.md', 'configs/gone.py, which is not there'), ('bare.md', 'no front matter'),
                        ('strange.md', "method 'kdd'"), ('empty.md', 'neither'), ('lost.md', 'which is not in'),
                        ('other.md', 'another sha256'), ('secret.safetensors', 'has no card')]:
        assert [problem for problem in problems if where in problem and what in problem], (where, problems)
    assert len(problems) == 11


def test_configs_that_cannot_be_read(tmp_path):
    good = write(tmp_path, 'configs/a.py', 'x = 1\n')
    bad = write(tmp_path, 'configs/b.py', "_base_ = ['gone.py']\n")
    configs, problems = checks.read_configs([good, bad], tmp_path)
    assert list(configs) == [good] and problems[0].where == 'configs/b.py'
    assert checks.config_files(tmp_path, 'a.p?') == [] and checks.config_files(tmp_path, '*/a.p?') == [good]


@pytest.mark.parametrize(('distiller', 'message'), [
    ("dict(type='KD')", None),
    ("dict(type='CRD', num_negatives=16384)", None),
    ("dict(type='ND')", None),
    ("dict(type='KD', temprature=1.0)", 'Did you mean temperature'),
    ("dict(type='FitNets', student_layer='stages.9')", 'stages.9'),
    ("dict(type='CRLD')", "view 'strong'"),
])
def test_a_training_step(tmp_path, distiller, message):
    """The teacher's checkpoint is not there, nor is it looked for."""
    path = write(tmp_path, 'configs/classification/toy/x.py', STEP.format(root=ROOT, distiller=distiller))
    seconds = {}
    problems = texts(checks.check_steps([path], tmp_path, seconds=seconds))
    assert seconds[path] > 0 and len(problems) == (message is not None)
    assert message is None or message in problems[0]


def test_large_images_are_shrunk_where_the_networks_allow(tmp_path):
    write(tmp_path, 'net.py', head='', text='''
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, side, num_classes=10):
        super().__init__()
        self.side, self.head = side, nn.Linear(3, num_classes)

    def forward(self, x):
        if self.side and x.shape[-1] != self.side:
            raise ValueError(f'this network takes images of {self.side} pixels')
        return self.head(x.mean((2, 3)))
''')
    for side, trained in ((0, True), (80, True), (81, False)):
        path = write(tmp_path, f'configs/x{side}.py', STEP.format(root=ROOT, distiller='') + f'''
task = dict(input_shape=(3, 80, 80))
model = dict(_delete_=True, type='Distillation',
             student=dict(type='PythonFileModel', path={str(tmp_path / 'net.py')!r}, name='Net', side={side}))
''')
        problems = texts(checks.check_steps([path], tmp_path))
        assert (problems == []) is trained, problems


@pytest.mark.parametrize(('package', 'config'), [
    ('mmdet', 'detection/feature_regression/gfl_r18_r18half_digit_scenes.py'),
    ('mmseg', 'segmentation/feature_regression/deeplabv3plus_r18_r18half_digit_scenes.py')])
def test_a_step_of_detection_and_segmentation(package, config, monkeypatch, capsys):
    """On noise with objects; without the package the config is passed over, and that is said."""
    pytest.importorskip(package)
    path = ROOT / 'configs' / config
    assert texts(checks.check_steps([path], ROOT)) == []

    def missing(name):
        raise MissingPackageError(f'This config needs {name}, which is not installed.')
    monkeypatch.setattr('zoo.tasks.dense.require', missing)
    monkeypatch.setattr(checks, 'require', missing)
    assert texts(checks.check_steps([path], ROOT)) == []
    assert f'{config}: skipped: This config needs {package}' in capsys.readouterr().err


def test_an_unknown_task_asks_for_its_data(tmp_path):
    path = write(tmp_path, 'configs/x.py', STEP.format(root=ROOT, distiller='') + "task = dict(type='Clasification')\n")
    problem, = texts(checks.check_steps([path], tmp_path))
    assert 'Did you mean Classification' in problem


def test_tool_counts_problems(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('check_zoo_tool', ROOT / 'tools' / 'check_zoo.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(checks, 'check_all', lambda **options: iter([checks.Problem('a.py', 'is wrong.')]))
    assert tool.main(['--no-steps']) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == 'a.py: is wrong.' and '1 problems' in out[1]
    monkeypatch.setattr(checks, 'check_all', lambda **options: iter(()))
    assert tool.main(['--no-steps']) == 0
    monkeypatch.setattr(checks, 'fix_readme', lambda: (_ for _ in ()).throw(ValueError('no markers')))
    assert tool.main(['--fix']) == 1 and 'no markers' in capsys.readouterr().err
