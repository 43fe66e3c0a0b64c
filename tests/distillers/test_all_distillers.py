"""What holds for every distiller, tried on each of its configs for the digits with a tiny pair.

A new method is found by its config, ``configs/classification/<slug>/*digits*.py``.
"""
import copy
import functools
import inspect
import io
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.conftest import ROOT, TINY, tiny_config
from zoo.data import collate_batch
from zoo.distillers import METHODS, Distiller, Progress
from zoo.engine import Runner, RunnerTrainingSet, prepare_config
from zoo.models import build_network
from zoo.models.released import load_released, save_released
from zoo.registry import DATASETS, DISTILLERS, MODELS, UnknownNameError

CONFIGS = [path for path in sorted((ROOT / 'configs/classification').glob('*/*digits*.py'))
           if path.parent.name in METHODS]
TEACHER = {**TINY, 'widths': (6, 6, 8, 12)}


def label(path: Path) -> str:
    return f'{path.parent.name}{path.stem.partition("digits")[2]}'


every_config = pytest.mark.parametrize('path', CONFIGS, ids=label)


def without_weights(cfg):
    """``cfg`` whose networks, also those inside a distiller, look for no file."""
    if isinstance(cfg, dict):
        cfg.pop('checkpoint', None)
    for value in cfg.values() if isinstance(cfg, dict) else cfg if isinstance(cfg, list) else ():
        without_weights(value)


@pytest.fixture(scope='module')
def teacher_file(tmp_path_factory) -> str:
    """A tiny teacher that knows the digits, so that its outputs are confident and its maps are not noise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = DATASETS.build({'type': 'Digits', 'size': 8})
    net = build_network(TEACHER, num_classes=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(6):
        for positions in torch.randperm(len(digits)).split(64):
            batch = digits.__getitems__(positions)
            loss = torch.nn.functional.cross_entropy(net((batch['images'] / 255 - 0.3054) / 0.3187), batch['labels'])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.5
    return str(save_released(net, tmp_path_factory.mktemp('teacher') / 'teacher.safetensors'))


@pytest.fixture
def tiny_run(tmp_path, teacher_file):
    """:func:`shrunk` with a work directory of the test's own."""
    return functools.partial(shrunk, work_dir=tmp_path, teacher_file=teacher_file)


def shrunk(path: Path, work_dir: Path, teacher_file: str, *, subset: int = 32, batch_size: int = 16, epochs: int = 2,
           amp: str = 'off', **options) -> Config:
    """The config with few images and other weights; the usual pair becomes a tiny one that sees 8x8 images."""
    config = Config.fromfile(path)
    model = config.model
    usual = model.get('student', {}).get('type') == 'CifarResNet' and model.get('teacher', {}).get('type') == 'resnet20'
    without_weights(model)
    if usual:
        model.student, model.teacher = copy.deepcopy(TINY), copy.deepcopy(TEACHER)
        config.task.input_shape = (3, 8, 8)
        for loader in (config.train_dataloader, config.val_dataloader):
            loader.dataset.size = 8
        model.teacher.checkpoint = teacher_file
    elif model.get('teacher') is not None:
        model.teacher.untrained = True
    for distiller in model.get('distillers', []):
        if 'batch_size' in inspect.signature(DISTILLERS.get(distiller.type)).parameters:
            distiller.batch_size = batch_size
    config.train_dataloader.update(batch_size=batch_size, num_workers=0)
    config.train_dataloader.dataset.subset = subset
    config.val_dataloader.dataset.subset = 20
    config.train_cfg.max_epochs = epochs
    config.default_hooks.checkpoint = {'type': 'CheckpointHook', 'interval': 10, 'save_last': False}
    return prepare_config(config, work_dir=str(work_dir), amp=amp, options=options)


def run(config: Config) -> Runner:
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def logged_terms(config: Config) -> set[str]:
    """Names of the scalars that the run wrote at its last line."""
    lines = [json.loads(line) for path in Path(config.work_dir).rglob('scalars.json')
             for line in path.read_text().splitlines()]
    return {key for line in lines for key in line}


def assert_trained_well(config: Config, slug: str) -> Runner:
    runner = run(config)
    record = json.loads((Path(config.work_dir) / 'record.json').read_text())
    assert record['epochs'] == config.train_cfg.max_epochs
    assert all(math.isfinite(record['last'][key]) for key in ('top1', 'nll'))
    assert all(torch.isfinite(value).all() for value in runner.bare_model.state_dict().values()
               if value.is_floating_point())
    terms = logged_terms(config)
    assert any(term == slug or term.startswith((f'{slug}.', f'{slug}_')) for term in terms), sorted(terms)
    return runner


@every_config
def test_trains_and_releases_a_plain_student(path, tiny_run, tmp_path):
    """float32; the released file holds the trained student alone, with the same outputs."""
    config = tiny_run(path)
    runner = assert_trained_well(config, path.parent.name)
    student = runner.bare_model.student.eval()
    released = load_released(tmp_path / 'student.safetensors')
    assert set(released.state_dict()) == set(student.state_dict())
    assert not any('distiller' in key or 'teacher_net' in key for key in released.state_dict())
    images = torch.rand(4, *config.task.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(released(images), student(images))


@every_config
def test_trains_in_bf16(path, tiny_run):
    assert_trained_well(tiny_run(path, amp='bf16'), path.parent.name)


@every_config
def test_last_batch_of_one_image(path, tiny_run):
    """33 images in batches of 16."""
    runner = run(tiny_run(path, subset=33, epochs=1))
    assert runner.iter == 3
    assert all(torch.isfinite(value).all() for value in runner.bare_model.state_dict().values()
               if value.is_floating_point())


class Bench:
    """The model of a config and one fixed batch of its training set, without engine and augmentation."""

    def __init__(self, config: Config, positions=range(16)):
        torch.manual_seed(0)
        self.config = config
        self.dataset = DATASETS.build(config.train_dataloader.dataset)
        self.model = MODELS.build(copy.deepcopy(config.model.to_dict()))
        loader = torch.utils.data.DataLoader(self.dataset, batch_size=16, collate_fn=collate_batch)
        self.model.prepare(RunnerTrainingSet(self.model, loader, config.train_dataloader.dataset.to_dict()))
        self.model.train()
        self.model.progress = Progress(epoch=1, epochs=4, iteration=2, iterations=20)
        self.data = self.model.data_preprocessor(self.dataset.__getitems__(list(positions)), training=False)

    def terms(self) -> dict[str, torch.Tensor]:
        """The distillers' terms on the fixed batch, with the same random draws each time."""
        torch.manual_seed(1)
        terms = self.model(self.data, mode='loss')
        return {name: value for name, value in terms.items() if name not in self.model._last_terms}

    def parameters(self) -> list[torch.Tensor]:
        groups = [group['params'] for _, group in self.model.param_groups()]
        own = [p for p in self.model.student.parameters() if p.requires_grad]
        return own + [p for group in groups for p in group]


@every_config
def test_loss_falls_on_a_fixed_batch(path, tiny_run):
    bench = Bench(tiny_run(path))
    optimizer = torch.optim.Adam(bench.parameters(), lr=0.01)
    losses = []
    idle = [name for name, value in bench.terms().items() if not value]
    assert not idle, f'{idle} are zero on a full batch'
    for _ in range(12):
        loss = sum(bench.terms().values())
        assert loss.requires_grad, 'the terms carry no gradient'
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) / 3 < losses[0], losses


@every_config
def test_state_dict_restores_the_loss(path, tiny_run):
    """Saved after two steps, loaded into a model whose every weight and buffer was changed before."""
    config = tiny_run(path)
    bench, fresh = Bench(config), Bench(config)
    optimizer = torch.optim.SGD(bench.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        sum(bench.terms().values()).backward()
        optimizer.step()
    file = io.BytesIO()
    torch.save(bench.model.state_dict(), file)
    file.seek(0)
    for value in fresh.model.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1)
    fresh.model.load_state_dict(torch.load(file, weights_only=True))
    expected, got = bench.terms(), fresh.terms()
    assert set(got) == set(expected)
    for name, value in expected.items():
        message = f'{name}: {value.item()} was saved and {got[name].item()} is restored'
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-6, msg=message)


@every_config
def test_batch_of_one_image_and_batch_of_one_class(path, tiny_run):
    """A finite loss, or one clear sentence."""
    config = tiny_run(path)
    labels = DATASETS.build(config.train_dataloader.dataset).labels
    for positions in ([3], (labels == labels[0]).nonzero().flatten().tolist()):
        bench = Bench(config, positions)
        try:
            terms = bench.terms()
        except ValueError as error:
            assert len(str(error)) > 20, error
            assert 'Expected more than 1 value per channel' not in str(error), error
        else:
            assert all(torch.isfinite(value) for value in terms.values()), terms
            assert all(value.requires_grad for value in terms.values()), terms


@every_config
def test_unlabelled_images(path, tiny_run):
    """A method that needs labels says so; any other trains without."""
    config = tiny_run(path, **{'train_dataloader.dataset.labelled': False, 'task.loss_weight': 0.0})
    try:
        terms = Bench(config).terms()
    except ValueError as error:
        assert 'labels' in str(error), error
    else:
        distillers = MODELS.build(copy.deepcopy(config.model.to_dict())).distillers.values()
        assert not any(distiller.needs.labels for distiller in distillers)
        assert all(torch.isfinite(value) for value in terms.values())


def test_every_registered_distiller_has_a_config_for_the_digits():
    """Families that need other data (dense, diffusion ...) are tried by tools/check_zoo.py."""
    named = {cfg['type'] for path in CONFIGS for cfg in Config.fromfile(path).model.get('distillers', [])}
    families = ('logit', 'feature', 'relation')
    missing = [name for name in DISTILLERS.names() if DISTILLERS.get(name).__module__.split('.')[2] in families
               and DISTILLERS.get(name).__module__.startswith('zoo.') and name not in named]
    assert not missing, f'add configs/classification/<slug>/resnet20_resnet8half_digits.py for {missing}'


# ---- several in one list

def test_three_kinds_train_together(tiny):
    config = tiny(distillers=[{'type': 'KD', 'weight': 0.5}, {'type': 'FitNets', 'weight': 2.0}, {'type': 'SP'}],
                  epochs=1)
    run(config)
    terms = logged_terms(config)
    assert {'ce', 'kd', 'loss'} <= terms
    assert any(term.startswith('fitnets') for term in terms) and any(term.startswith('sp') for term in terms)


def test_weights_and_names_of_several(tiny):
    """Each term is weighted by its own entry; two entries of one kind keep apart."""
    distillers = [{'type': 'KD'}, {'type': 'KD', 'weight': 3.0}, {'type': 'KD', 'weight': 0.5, 'name': 'soft'}]
    terms = Bench(tiny(distillers=distillers)).terms()
    assert set(terms) == {'kd', 'kd_2.kd', 'soft.kd'}
    torch.testing.assert_close(terms['kd_2.kd'], 3 * terms['kd'])
    torch.testing.assert_close(terms['soft.kd'], 0.5 * terms['kd'])


# ---- bad input

def top_k_methods() -> list[str]:
    return [name for name in DISTILLERS.names() if DISTILLERS.get(name).__module__.startswith('zoo.distillers.logit.')
            and {'k', 'top_k', 'topk'} & set(inspect.signature(DISTILLERS.get(name)).parameters)]


def test_there_are_methods_with_top_k():
    assert {'TopKD', 'KDTopK'} <= set(top_k_methods())


@pytest.mark.parametrize('name', top_k_methods())
def test_fewer_classes_than_k(name, tmp_path):
    """k of 11 on the ten digits."""
    option = next(o for o in ('k', 'top_k', 'topk') if o in inspect.signature(DISTILLERS.get(name)).parameters)
    with pytest.raises(ValueError, match=r'(11|classes)'):
        Bench(tiny_config(tmp_path, distillers=[{'type': name, option: 11}])).terms()


@pytest.mark.parametrize('side', ['student_layer', 'teacher_layer'])
def test_a_tap_that_is_not_there(side, tmp_path):
    config = tiny_config(tmp_path, distillers=[{'type': 'FitNets', side: 'layer3.0.conv7'}])
    with pytest.raises(UnknownNameError, match=r'layer3\.0\.conv7.*Did you mean.*layer3\.0\.conv2'):
        Bench(config)


def test_a_stage_that_is_not_there(tmp_path):
    config = tiny_config(tmp_path, distillers=[{'type': 'FitNets', 'teacher_layer': 'stages.7'}])
    with pytest.raises(UnknownNameError, match=r"'stages\.7'.*3 entries"):
        Bench(config)


def test_teacher_of_other_classes(tmp_path):
    teacher = {**TEACHER, 'num_classes': 7, 'untrained': True}
    with pytest.raises(ValueError, match='7 classes and the student 10'):
        Bench(tiny_config(tmp_path, distillers=[{'type': 'KD'}], teacher=teacher))


def test_distiller_without_a_teacher(tmp_path):
    with pytest.raises(ValueError, match='model.teacher is None'):
        Bench(tiny_config(tmp_path, distillers=[{'type': 'KD'}], teacher=None))


def test_untrained_teacher_has_to_be_meant(tmp_path):
    with pytest.raises(ValueError, match='random weights'):
        Bench(tiny_config(tmp_path, distillers=[{'type': 'KD'}], teacher=dict(TEACHER)))


@pytest.mark.parametrize(('cfg', 'message'), [
    ({'type': 'KDD'}, 'Did you mean .*KD'),
    ({'type': 'KD', 'temprature': 2.0}, 'Did you mean temperature'),
])
def test_unknown_names(cfg, message, tmp_path):
    with pytest.raises((UnknownNameError, ValueError), match=message):
        Bench(tiny_config(tmp_path, distillers=[cfg]))


def test_a_loss_that_breaks_is_named(tmp_path):
    """Training stops at the first loss that is not finite, with the method's name."""
    @DISTILLERS.register_module(name='BreaksForATest')
    class Breaks(Distiller):
        def forward(self, student, teacher, batch, progress):
            return {'broken': torch.tensor(float('nan'), requires_grad=True)}
    try:
        config = tiny_config(tmp_path, distillers=[{'type': 'BreaksForATest', 'name': 'breaks'}], epochs=1)
        with pytest.raises(RuntimeError, match=r'epoch 1, iteration 1: breaks\.broken = nan'):
            run(config)
    finally:
        DISTILLERS.module_dict.pop('BreaksForATest')
