"""The demo: its table, verdict and picture from made-up records, and one tiny run of it all."""
import copy

import pytest
from mmengine.config import Config

from zoo.engine.budget import set_epochs
from zoo.engine.demo import demo_rows, run_demo, spread, verdict, write_demo
from zoo.engine.plots import plot_bars, plot_curves

PNG = b'\x89PNG'


def fake_record(top1, *, seed=0, best=None, parameters=1000, images=100, **last):
    best = top1 if best is None else best
    scores = [dict(epoch=1, top1=10.0), dict(epoch=2, top1=best), dict(epoch=3, top1=top1, **last)]
    return dict(student_parameters=parameters, epochs=3, train_images=images, batch_size=32, seed=seed, last=scores[-1],
                best=dict(epoch=2, top1=best), scores=scores, train_seconds=1.5, hardware='CPU', torch='2',
                finished='2026-01-01 00:00:00', monitor='top1', distillers=[dict(type='KD', temperature=4.0, weight=0.9)])


@pytest.fixture
def result():
    return dict(teacher=fake_record(99.0, parameters=270000, images=1437),
                alone=[fake_record(v, seed=s, agreement=70.0) for s, v in enumerate((80.0, 82.0, 84.0))],
                distilled=[fake_record(v, seed=s, best=95.0, agreement=90.0) for s, v in enumerate((90.0, 91.0, 83.5))],
                seconds=12.0)


def test_table_holds_what_was_measured(result, tmp_path):
    rows = write_demo(result, tmp_path)
    assert [row['network'] for row in rows] == ['teacher', 'student alone', 'student distilled']
    assert rows[1]['top-1, last epoch (%)'] == '82.00 ± 2.00'
    assert rows[2]['top-1, best epoch (%)'] == '95.00 ± 0.00'
    assert rows[0]['agreement with the teacher (%)'] == ''
    text = (tmp_path / 'table.md').read_text()
    for said in ('270,000', '82.00 ± 2.00', '1,437 labelled images', 'seeds (0, 1, 2)', 'temperature 4.0'):
        assert said in text
    assert (tmp_path / 'curves.png').read_bytes().startswith(PNG)


def test_verdict_is_honest_either_way(result):
    assert '6.17 points of accuracy above' in verdict(result) and 'better with 2' in verdict(result)
    turned = copy.deepcopy(result)
    turned['alone'], turned['distilled'] = turned['distilled'], turned['alone']
    assert 'the student alone won: it is 6.17 points above' in verdict(turned)
    turned['distilled'] = turned['alone']
    assert 'the same accuracy' in verdict(turned)


def test_one_seed_has_no_spread(result):
    result['alone'], result['distilled'] = result['alone'][:1], result['distilled'][:1]
    assert demo_rows(result)[1]['top-1, last epoch (%)'] == '80.00'
    assert spread([1.0]) == '1.00' and spread([1.0, 3.0], 1) == '2.0 ± 1.4'


def test_wrong_number_of_images_is_told_before_training(tmp_path):
    said = []
    with pytest.raises(ValueError, match='1437'):
        run_demo(tmp_path, images=5000, say=said.append)
    assert not said


def test_demo_runs_and_runs_again(tmp_path):
    size = 8
    options = {'train_dataloader.dataset.size': size, 'val_dataloader.dataset.size': size,
               'test_dataloader.dataset.size': size, 'task.input_shape': (3, size, size)}
    lines = []
    for _ in range(2):  # a second call replaces the first one's runs
        result = run_demo(tmp_path, seeds=(0,), teacher_epochs=1, epochs=1, images=32, options=options, say=lines.append)
        (stale := tmp_path / 'alone' / 'stale').mkdir()
    assert stale.is_dir() and len(list((tmp_path / 'alone').iterdir())) == 2
    assert 0 <= result['alone'][0]['last']['agreement'] <= 100
    assert result['distilled'][0]['last']['agreement'] >= 0
    assert result['alone'][0]['student_parameters'] == result['distilled'][0]['student_parameters']
    assert any(line.strip().startswith('seed 0: alone') for line in lines)
    rows = write_demo(result, tmp_path)
    assert rows[0]['images'] == '1,437' and rows[1]['images'] == '32'


def test_curves_need_the_score(tmp_path):
    with pytest.raises(ValueError, match='miss'):
        plot_curves({'a': [[dict(epoch=1, top1=1.0)]]}, tmp_path / 'x.png', metric='miss')


def test_bars_need_matching_lengths(tmp_path):
    with pytest.raises(ValueError, match='2 names, 1 means'):
        plot_bars(['a', 'b'], [1.0], [None], tmp_path / 'x.png')
    assert plot_bars(['a'], [50.0], [None], tmp_path / 'x.png', baseline=49.0, teacher=99.0).read_bytes().startswith(PNG)


def schedule(*schedulers, epochs=15):
    return Config(dict(train_cfg=dict(max_epochs=epochs), param_scheduler=list(schedulers)))


WARMUP = dict(type='LinearLR', by_epoch=True, begin=0, end=1)
COSINE = dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=15, T_max=14)


def test_epochs_move_the_schedule():
    config = set_epochs(schedule(WARMUP, COSINE), 40)
    assert config.train_cfg.max_epochs == 40
    assert config.param_scheduler[0].end == 1
    assert {k: config.param_scheduler[1][k] for k in ('begin', 'end', 'T_max')} == dict(begin=1, end=40, T_max=39)


def test_epochs_without_room_for_the_warmup():
    config = set_epochs(schedule(WARMUP, COSINE), 1)
    assert [s.type for s in config.param_scheduler] == ['CosineAnnealingLR']
    assert {k: config.param_scheduler[0][k] for k in ('begin', 'end', 'T_max')} == dict(begin=0, end=1, T_max=1)


def test_epochs_move_milestones():
    config = set_epochs(schedule(dict(type='MultiStepLR', by_epoch=True, milestones=[150, 180, 210]), epochs=240), 24)
    assert config.param_scheduler[0].milestones == [15, 18, 21]


@pytest.mark.parametrize('config, epochs', [(schedule(WARMUP), 0), (Config(dict(train_cfg=dict(max_iters=5))), 3)])
def test_epochs_refused(config, epochs):
    with pytest.raises(ValueError):
        set_epochs(config, epochs)
