"""Whole runs of diffusion configs on the digits: they train, resume to the bit, and release a plain U-Net that draws."""
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image

from tests.conftest import ROOT
from zoo.engine import Runner, prepare_config
from zoo.engine.sample import (
    Generator,
    collaboration,
    compare,
    draw_grid,
    feature_network,
    reference_images,
    release_checkpoint,
    team_draw,
    write_comparison,
)
from zoo.models import DiffusionUNet, build_network
from zoo.models.released import load_released, save_released

METHODS = ('boot', 'progressive_distillation', 'consistency_distillation')
UNET = dict(type='DiffusionUNet', in_channels=1, channels=8, groups=4, patch_size=2, num_classes=10)
JUDGE = dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8), num_classes=10)


@pytest.fixture
def teacher_file(tmp_path) -> str:
    torch.manual_seed(0)
    net = build_network(UNET)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return str(save_released(net, tmp_path / 'teacher.safetensors'))


def tiny(method: str, work_dir, teacher: str | None = None, *, epochs: int = 2, **options) -> Config:
    """The digits config of a method with a smaller U-Net and a few samples: 4 batches an epoch."""
    config = Config.fromfile(ROOT / f'configs/diffusion/{method}/unet_digits.py')
    config.model.student = dict(UNET)
    if teacher is not None:
        config.model.teacher = dict(UNET, checkpoint=teacher)
    dataset = config.train_dataloader.dataset
    dataset['length' if dataset.type == 'NoiseDataset' else 'subset'] = 32
    config.train_dataloader.batch_size = 8
    config.val_dataloader.dataset.subset = 20
    for key in ('val_evaluator', 'test_evaluator'):
        config[key].network = dict(JUDGE)
    config.task.sampler.steps = min(config.task.sampler.steps, 2)
    config.train_cfg = dict(type='EpochLoop', max_epochs=epochs, val_interval=epochs)
    return prepare_config(config, work_dir=str(work_dir), options=options)


class Watch(Hook):
    priority = 'LOWEST'

    def __init__(self, stop_after=None):
        self.losses, self.stop_after = [], stop_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        if self.stop_after is not None and runner.iter + 1 == self.stop_after:
            raise KeyboardInterrupt


def run(config, stop_after=None):
    watch, runner = Watch(stop_after), Runner.from_cfg(config)
    runner.register_hook(watch)
    if stop_after is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return watch.losses, runner


@pytest.mark.parametrize('method', ['vanilla', *METHODS])
def test_trains_and_releases_a_plain_network(method, tmp_path, teacher_file):
    losses, runner = run(tiny(method, tmp_path / 'run', None if method == 'vanilla' else teacher_file))
    assert len(losses) == 8 and all(torch.isfinite(torch.tensor(losses)))
    record = json.loads((tmp_path / 'run/record.json').read_text())
    assert {'fid_digits_resnet20', 'precision', 'recall', 'accuracy'} <= set(record['last'])
    assert record['monitor'] == 'fid_digits_resnet20' and record['images_per_second'] > 0
    released = load_released(tmp_path / 'run/student.safetensors')
    assert isinstance(released, DiffusionUNet) and set(released.state_dict()) == set(runner.bare_model.student.state_dict())
    average = getattr(runner, 'student_average', None) or runner.bare_model.student
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([0.1, 0.9])
    with torch.no_grad():
        torch.testing.assert_close(released(x, t), average.eval()(x, t))


def test_best_score_is_the_smallest(tmp_path):
    _, runner = run(tiny('vanilla', tmp_path, epochs=2, **{'train_cfg.val_interval': 1}))
    record = json.loads((tmp_path / 'record.json').read_text())
    scores = [score['fid_digits_resnet20'] for score in record['scores']]
    assert len(scores) == 2 and record['best']['fid_digits_resnet20'] == min(scores)


@pytest.mark.parametrize(('method', 'amp'), [*((method, 'off') for method in METHODS), ('boot', 'bf16')])
def test_resume_is_exact(method, amp, tmp_path, teacher_file):
    """4 batches an epoch; the checkpoint is written after iteration 3, 6, ...; the run breaks after iteration 7. The rounds of
    progressive distillation begin at 0, 4 and 8."""
    options = {'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=3), 'optim_wrapper.amp': amp}
    if amp == 'bf16':
        options['optim_wrapper.accumulative_counts'] = 2
    whole, first = run(tiny(method, tmp_path / 'whole', teacher_file, epochs=3, **options))
    run(tiny(method, tmp_path / 'broken', teacher_file, epochs=3, **options), stop_after=7)
    again = tiny(method, tmp_path / 'broken', teacher_file, epochs=3, **options)
    again.resume = True
    rest, second = run(again)
    assert rest == whole[6:]
    for (name, a), b in zip(first.bare_model.state_dict().items(), second.bare_model.state_dict().values()):
        assert torch.equal(a, b), name


def test_boot_reads_no_images(tmp_path, teacher_file):
    config = tiny('boot', tmp_path, teacher_file, epochs=1)
    assert config.train_dataloader.dataset.type == 'NoiseDataset'
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        config[key] = None
    losses, runner = run(config)
    assert len(losses) == 4 and json.loads((tmp_path / 'record.json').read_text())['last'] is None


def test_rounds_release_and_reset(tmp_path, teacher_file):
    seen = []

    class Look(Hook):
        priority = 'LOWEST'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.optim_wrapper.param_groups[0]['lr'], len(runner.optim_wrapper.optimizer.state)))
    runner = Runner.from_cfg(tiny('progressive_distillation', tmp_path, teacher_file, epochs=3))
    runner.register_hook(Look())
    runner.train()
    rates, states = zip(*seen)
    assert rates[0] == rates[4] == rates[8] == 5e-4 and rates[3] == pytest.approx(5e-4 / 4)
    assert [number == 0 for number in states] == [i in (0, 4, 8) for i in range(12)]
    assert sorted(path.name for path in tmp_path.glob('student_*')) == [f'student_{n}_steps.safetensors' for n in (1, 2, 4)]


@pytest.mark.parametrize(('options', 'message'), [
    (dict(custom_hooks=[dict(type='ProgressiveRoundsHook')]), 'needs a ProgressiveDistillation'),
    ({'model.distillers.0.type': 'ConsistencyDistillation'}, 'option of ConsistencyDistillation'),
    ({'task.sampler': dict(type='boot', steps=3)}, 'one step')])
def test_bad_configs(options, message, tmp_path, teacher_file):
    with pytest.raises(ValueError, match=message):
        run(tiny('boot', tmp_path, teacher_file, epochs=1, **options))


# ---- drawing

def generator(tmp_path, teacher_file, **options) -> Generator:
    return Generator(tiny('vanilla', tmp_path, **options), teacher_file)


def test_same_seed_same_noise_whatever_the_batches(tmp_path, teacher_file):
    draw = generator(tmp_path, teacher_file)
    noise, labels = draw.noise(6, seed=3), draw.labels(6, [7, 2])
    assert torch.equal(noise[:4], draw.noise(4, seed=3)) and labels.tolist() == [7, 2] * 3
    told = []
    images = draw(noise, labels, steps=2, batch_size=4, advance=told.append)
    assert sum(told) == 12
    torch.testing.assert_close(images, draw(noise, labels, steps=2, batch_size=6), rtol=1e-4, atol=1e-5)
    assert images.abs().max() <= 1 and not torch.allclose(images, draw(noise, labels, steps=2, guidance_scale=4.0))
    with pytest.raises(ValueError, match=r'0\.\.9'):
        draw.labels(3, [10])


def test_training_checkpoint_gives_its_average(tmp_path, teacher_file):
    run(tiny('vanilla', tmp_path / 'run'))
    released, checkpoint = tmp_path / 'run/student.safetensors', tmp_path / 'run/epoch_2.pth'
    config = tiny('vanilla', tmp_path / 'run')
    nets = [Generator(config, path).denoiser.network.state_dict() for path in (released, checkpoint)]
    again = load_released(release_checkpoint(config, checkpoint, tmp_path / 'again.safetensors'))
    for key, value in nets[0].items():
        assert torch.equal(value, nets[1][key]) and torch.equal(value, again.state_dict()[key])
    raw = load_released(release_checkpoint(config, checkpoint, tmp_path / 'raw.safetensors', average=False))
    assert not torch.equal(raw.out.weight, again.out.weight)
    assert again.preprocess['input_shape'] == [1, 16, 16] and again.preprocess['mean'] == [0.5]


def test_grid(tmp_path):
    images = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 0.0, 1.0)])
    picture = Image.open(draw_grid(images, tmp_path / 'a.png', columns=2, side=16))
    assert picture.size == (2 * 18 - 2, 2 * 18 - 2)
    assert picture.getpixel((5, 5)) == (0,) * 3 and picture.getpixel((5, 25)) == (255,) * 3
    named = Image.open(draw_grid(images, tmp_path / 'b.png', columns=3, side=16, rows=['a row']))
    assert named.size[0] > 3 * 18
    with pytest.raises(ValueError, match='latents'):
        draw_grid(torch.zeros(2, 4, 8, 8), tmp_path / 'c.png')


def test_comparison_with_a_collaboration(tmp_path, teacher_file):
    """Where the threshold lies below all scores the team is the student; where it lies above, the teacher works each time."""
    student = generator(tmp_path, teacher_file)
    config = tiny('adaptive_collab', tmp_path, teacher_file)
    config.collaboration.update(estimator=dict(network=dict(JUDGE)), calibration=20)
    noise, labels = student.noise(12), student.labels(12)
    rows = {}
    for percentile, threshold in ((0, -1e9), (100, 1e9)):
        torch.manual_seed(0)
        own, team, facts = collaboration(config, teacher_file)
        team.threshold = threshold
        images, steps = team_draw(team, facts)(noise, labels, 5)
        rows[percentile] = images
        assert steps == 1 + facts['teacher_steps'] * (percentile == 100) and facts['teacher_steps'] == 4
    torch.testing.assert_close(rows[0], own(noise, labels))
    assert not torch.allclose(rows[100], rows[0])
    features = feature_network(dict(type='GenerationMetric', name='x', network=dict(JUDGE)))
    real = reference_images(student.config, 30)
    assert real.shape == (30, 1, 16, 16) and real.min() >= -1
    table, pictures = compare([('student', lambda n, c, b: own(n, c, batch_size=b), 1), ('team', team_draw(team, facts), 1)],
                              features, real, noise, labels, batch_size=5)
    assert pictures.shape == (2, 10, 1, 16, 16) and [row.steps for row in table] == [1, 5]
    text = write_comparison(table, tmp_path / 'table', features='x', facts=dict(images=12))
    assert 'FID (x)' in text and '| team | 5 |' in text
    assert len((tmp_path / 'table/comparison.csv').read_text().splitlines()) == 3
    assert json.loads((tmp_path / 'table/comparison.json').read_text())['rows'][1]['name'] == 'team'


def test_bad_generators(tmp_path, teacher_file):
    with pytest.raises(ValueError, match='give a CHECKPOINT'):
        Generator(tiny('vanilla', tmp_path))
    with pytest.raises(FileNotFoundError):
        Generator(tiny('vanilla', tmp_path), Path(tmp_path) / 'none.safetensors')
    with pytest.raises(ValueError, match='no diffusion config'):
        Generator(ROOT / 'configs/classification/vanilla/resnet20_digits.py', teacher_file)
    with pytest.raises(ValueError, match=r'no model\.teacher'):
        Generator(tiny('vanilla', tmp_path), side='teacher')
