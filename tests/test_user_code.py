"""A user's own distiller and network, outside of the package, and what ``import zoo`` costs."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, tiny_config
from zoo.engine import Runner, prepare_config, train
from zoo.models.released import load_released
from zoo.registry import DISTILLERS, UnknownNameError

DISTILLER = '''
from torch import nn

from zoo.distillers import Distiller, Needs
from zoo.registry import DISTILLERS


@DISTILLERS.register_module()
class MyRegression(Distiller):
    """Mine: squared distance of projected embeddings (me, 2025)."""
    needs = Needs(student=('pooled',), teacher=('pooled',))

    def __init__(self, bias: bool = True):
        super().__init__()
        self.bias = bias

    def build(self, shapes):
        self.projector = nn.Linear(shapes.student['pooled'][1], shapes.teacher['pooled'][1], bias=self.bias)

    def forward(self, student, teacher, batch, progress):
        return dict(regression=nn.functional.mse_loss(self.projector(student['pooled']), teacher['pooled']))
'''
CONFIG = '''
_base_ = ['{root}/configs/_base_/datasets/digits.py', '{root}/configs/_base_/schedules/digits.py',
          '{root}/configs/_base_/runtime.py']
custom_imports = dict(imports=['my_distiller'])
train_dataloader = dict(dataset=dict(size=8, subset=64), batch_size=32)
val_dataloader = dict(dataset=dict(size=8, subset=20))
train_cfg = dict(max_epochs=2)
task = dict(input_shape=(3, 8, 8))
net = dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8))
model = dict(
    type='Distillation', student=net, teacher=dict(net, widths=(6, 6, 8, 12), untrained=True),
    distillers=[dict(type='MyRegression', bias=False, weight=0.5), dict(type='KD', weight=0.5)])
'''
NETWORK = '''
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, width: int = 8, num_classes: int = 10):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))
'''


@pytest.fixture
def own_distiller(tmp_path, monkeypatch):
    """A folder with ``my_distiller.py`` and a config beside it; forgotten afterwards."""
    (tmp_path / 'my_distiller.py').write_text(DISTILLER)
    config = tmp_path / 'my_config.py'
    config.write_text(CONFIG.format(root=ROOT))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield config
    sys.modules.pop('my_distiller', None)
    DISTILLERS.module_dict.pop('MyRegression', None)


def test_a_distiller_of_ones_own(own_distiller, tmp_path):
    record = train(prepare_config(own_distiller, work_dir=str(tmp_path / 'run')))
    assert [cfg['type'] for cfg in record['distillers']] == ['MyRegression', 'KD'] and record['epochs'] == 2
    lines = [json.loads(line) for path in (tmp_path / 'run').rglob('scalars.json')
             for line in path.read_text().splitlines()]
    assert any('my_distiller.regression' in line and 'kd' in line for line in lines)
    released = load_released(tmp_path / 'run' / 'student.safetensors')
    assert not any('projector' in key for key in released.state_dict())


def test_a_wrong_option_of_ones_own_distiller(own_distiller, tmp_path):
    config = prepare_config(own_distiller, work_dir=str(tmp_path / 'run'),
                            options={'model.distillers': [{'type': 'MyRegression', 'biass': True}]})
    with pytest.raises(ValueError, match='option of MyRegression.*biass.*Did you mean bias'):
        Runner.from_cfg(config)


@pytest.mark.slow
def test_a_distiller_of_ones_own_by_the_command_line(tmp_path):
    """From another folder than the project's."""
    (tmp_path / 'my_distiller.py').write_text(DISTILLER)
    (tmp_path / 'my_config.py').write_text(CONFIG.format(root=ROOT))
    subprocess.run([sys.executable, str(ROOT / 'tools/train.py'), 'my_config.py', '--work-dir', 'run', '--cfg-options',
                    'train_cfg.max_epochs=1'], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert json.loads((tmp_path / 'run/record.json').read_text())['epochs'] == 1


def own_network(folder: Path, name: str = 'SmallNet', **options) -> dict:
    path = folder / 'my_net.py'
    path.write_text(NETWORK)
    return {'type': 'PythonFileModel', 'path': str(path), 'name': name, **options}


def test_a_network_of_ones_own_as_student_and_teacher(tmp_path):
    """Read by module paths and by the names that a dry run finds; released with the file that builds it."""
    config = tiny_config(
        tmp_path / 'run', epochs=1, subset=64, teacher={**own_network(tmp_path, width=12), 'untrained': True},
        distillers=[{'type': 'KD'}, {'type': 'FitNets', 'student_layer': 'second', 'teacher_layer': 'second'},
                    {'type': 'SP', 'student_layers': 'final_map', 'teacher_layers': 'final_map'}])
    config.model.student = own_network(tmp_path, width=4)
    runner = Runner.from_cfg(config)
    runner.train()
    released = load_released(tmp_path / 'run' / 'student.safetensors')
    assert type(released).__name__ == 'SmallNet' and released.head.in_features == 8
    images = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(released(images), runner.bare_model.student.eval()(images))


def test_a_tap_of_ones_own_network(tmp_path):
    config = tiny_config(tmp_path, distillers=[{'type': 'FitNets', 'student_layer': 'secnd'}])
    config.model.student = own_network(tmp_path)
    with pytest.raises(UnknownNameError, match=r"tap of SmallNet 'secnd'\. Did you mean second"):
        Runner.from_cfg(config)


def test_a_network_that_the_file_does_not_define(tmp_path):
    config = tiny_config(tmp_path)
    config.model.student = own_network(tmp_path, 'SmalNet')
    with pytest.raises(UnknownNameError, match='it defines SmallNet'):
        Runner.from_cfg(config)


@pytest.mark.parametrize(('key', 'value', 'near'), [
    ('model.student.type', 'CifarResnett', 'CifarResNet'),
    ('model.teacher.type', 'resnet21', 'resnet20'),
    ('model.distillers', [{'type': 'FitNet'}], 'FitNets'),
    ('model.task.type', 'Clasification', 'Classification'),
    ('model.data_preprocessor.augment', [{'type': 'RandomCropFlop'}], 'RandomCropFlip'),
    ('train_dataloader.dataset.type', 'Digit', 'Digits'),
    ('val_evaluator.type', 'ClassificationMetrics', 'ClassificationMetric'),
    ('optim_wrapper.optimizer.type', 'SDG', 'SGD'),
    ('param_scheduler.0.type', 'CosineAnealingLR', 'CosineAnnealingLR'),
    ('custom_hooks', [{'type': 'EMAHok'}], 'EMAHook'),
    ('train_cfg.type', 'EpochLop', 'EpochLoop'),
])
def test_unknown_types_name_the_nearest(key, value, near, tmp_path):
    config = tiny_config(tmp_path)
    config.merge_from_dict({key: value})
    with pytest.raises(UnknownNameError, match=f'Did you mean .*{near}'):
        Runner.from_cfg(config).train()


def loaded_by(statement: str) -> tuple[set[str], float]:
    """The modules that a fresh interpreter holds after a statement, and the seconds that it took."""
    program = (f'import sys, time\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)\n'
               'print(*sorted(sys.modules))')
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True,
                          timeout=120)
    seconds, _, modules = done.stdout.partition('\n')
    return set(modules.split()), float(seconds)


def test_import_zoo_is_quick():
    modules, seconds = loaded_by('import zoo')
    assert 'zoo' in modules
    assert not modules & {'torch', 'torchvision', 'timm', 'mmengine', 'mmdet', 'mmseg', 'albumentations', 'matplotlib'}
    assert seconds < 1, f'import zoo took {seconds:.2f} s'


def test_rooms_import_no_optional_package():
    modules, _ = loaded_by('import zoo.engine, zoo.tasks, zoo.distillers, zoo.models, zoo.data, zoo.metrics, zoo.tables')
    assert 'torch' in modules
    assert not modules & {'mmdet', 'mmseg', 'mmcv', 'albumentations', 'tensorboard'}
