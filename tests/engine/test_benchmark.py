"""Checkpoints measured by their own configs; what cannot be measured costs a sentence and stops nothing."""
import json
import sys

import pytest
import torch
from torch import nn

from tests.conftest import ROOT, TINY, tiny_config
from zoo.engine.benchmark import (
    Subject,
    benchmark,
    busy,
    count_flops,
    machine,
    measure_latency,
    measured_students,
    network_cost,
    one_line,
    papers_networks,
    subject_of_checkpoint,
)
from zoo.engine.launch import evaluate
from zoo.models import build_network
from zoo.models.released import save_released
from zoo.tables import compare
from zoo.tables.comparison import EVALUATED, FROM_CARD

DISTILL = [dict(type='KD', temperature=4.0)]


@pytest.fixture()
def run(tmp_path):
    """A config with a teacher whose weights are gone, and a released student."""
    config = tiny_config(tmp_path / 'work', distillers=DISTILL, teacher=dict(TINY, checkpoint='gone.pth'))
    config.test_dataloader, config.test_evaluator = config.val_dataloader, config.val_evaluator
    config.test_cfg, config.dataset_name = dict(type='EvalLoop'), 'digits'
    path = tmp_path / 'configs' / 'classification' / 'kd' / 'a.py'
    path.parent.mkdir(parents=True)
    config.dump(str(path))
    torch.manual_seed(0)
    net = build_network(dict(TINY, num_classes=10))
    released = save_released(net, tmp_path / 'run' / 'student.safetensors', facts=dict(seed=3, epochs=2, last=dict(top1=9.0)))
    return path, released


def test_a_checkpoint_is_evaluated_without_its_teacher(run, capsys):
    config, released = run
    subject = subject_of_checkpoint(config, released)
    row = subject.row
    assert (row['method'], row['task'], row['dataset'], row['metric'], row['student'], row['teacher'], row['seeds']) == (
        'kd', 'classification', 'digits (128 training images)', 'top1', *['resnet8 (widths=4-4-8-8)'] * 2, [3])
    report = benchmark([subject], seconds=0.02)
    assert report.notes == [] and capsys.readouterr().out == ''
    measured, = report.rows
    assert measured['score'] == evaluate(config, None, released, split='test')['top1'] and measured['how'] == EVALUATED
    assert measured['parameters'] == sum(p.numel() for p in build_network(dict(TINY, num_classes=10)).parameters())
    assert measured['flops'] > 0 and measured['latency_ms'] > 0 and measured['last_score'] == 9.0
    laid, = compare([], report.rows)
    assert laid['paper_score'] is None and laid['our_score'] == measured['score'] and laid['input_shape'] == '3x8x8'


def test_what_cannot_be_evaluated_costs_one_sentence(run, tmp_path, monkeypatch):
    config, released = run
    monkeypatch.delenv('ZOO_TRACEBACK', raising=False)
    row = dict(subject_of_checkpoint(config, released).row, how=FROM_CARD, score=50.0, source='model_cards/a.md')

    def fail():
        raise ValueError('a.safetensors could not be had. Go online.')
    nowhere = tmp_path / 'gone.py'
    subjects = [Subject('no-file', row, str(config), fail), Subject('no-config', row, str(nowhere), lambda: released),
                Subject('no-metric', dict(row, metric='mIoU'), str(config), lambda: released),
                Subject('unknown', dict(row, score=None), None, lambda: released),
                Subject('good', dict(row), str(config), lambda: released)]
    report = benchmark(subjects, latency=False)
    notes = [note for note in report.notes if 'was not evaluated' in note]
    assert [note.split()[0] for note in notes] == ['no-file', 'no-config', 'no-metric', 'unknown']
    assert notes[0] == ('no-file was not evaluated: a.safetensors could not be had. Go online. '
                        'Its number is from the card, not re-evaluated.')
    assert 'No config' in notes[1] and 'not mIoU' in notes[2] and 'names no config' in notes[3]
    # the card's number stands where there is one, and says so; the rest went on
    assert [(r['how'], r['score'] == 50.0) for r in report.rows] == [(FROM_CARD, True)] * 3 + [(EVALUATED, False)]
    assert any(note.startswith('good: top1') and '50 in its card' in note for note in report.notes)
    assert all('\n' not in note for note in report.notes)


def test_a_missing_data_set_is_told(run, tmp_path):
    config, released = run
    other = config.with_name('b.py')
    other.write_text(config.read_text() + "\ntest_dataloader['dataset'] = dict(type='CIFAR100', root='nowhere', train=False)\n")
    row = dict(subject_of_checkpoint(config, released).row, how=FROM_CARD, score=50.0)
    report = benchmark([Subject('a', row, str(other), lambda: released, input_shape=(3, 8, 8))], latency=False)
    assert len(report.notes) == 1 and report.notes[0].startswith('a was not evaluated') and report.rows[0]['how'] == FROM_CARD


def test_nothing_is_evaluated_where_that_is_asked_for(run):
    config, released = run
    row = dict(subject_of_checkpoint(config, released).row, how=FROM_CARD, score=50.0)
    report = benchmark([Subject('a', row, str(config), lambda: 1 / 0)], scores=False, latency=False)
    assert report.notes == [] and report.rows[0]['how'] == FROM_CARD and 'latency_ms' not in report.rows[0]


def test_flops_are_two_for_each_multiplication():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False))
    assert count_flops(net, (3, 4, 4)) == 2 * (16 * 8 * 3 * 9 + 8 * 16 * 5)


def test_flops_need_no_memory_and_latency_is_measured():
    cheap, full = (network_cost(dict(type='resnet8', checkpoint='gone.pth'), (3, 32, 32), 10, latency=latency, seconds=0.05)
                   for latency in (False, True))
    assert cheap == {key: full[key] for key in cheap} and full['latency_ms'] > 0 and cheap['parameters'] == 78042
    assert measure_latency(nn.Identity(), (3, 2, 2), seconds=0, least=2) >= 0


def test_a_diffusion_model_gets_a_time():
    class Denoiser(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x, time):
            return self.layer(x) * time
    assert count_flops(Denoiser(), (1, 4, 4)) == 2 * 4 * 16


def test_papers_students_by_name():
    rows = [dict(task='classification', dataset=data, student=student) for data, student in (
        ('CIFAR-100', 'ResNet8x4'), ('CIFAR-100', 'ShuffleNetV1'), ('ImageNet-1k', 'ResNet-18'), ('ImageNet', 'unheard-of'),
        ('COCO', 'resnet20'), ('CIFAR-100', None))]
    found = papers_networks([*rows, dict(task='detection', dataset='CIFAR-100', student='resnet20')])
    assert set(found) == {('CIFAR-100', 'ResNet8x4'), ('CIFAR-100', 'ShuffleNetV1'), ('ImageNet-1k', 'ResNet-18')}
    assert found['ImageNet-1k', 'ResNet-18']['parameters'] == 11_689_512  # as torchvision documents it
    # 1.81 GMAC, as timm's results table says
    assert found['ImageNet-1k', 'ResNet-18']['flops'] == pytest.approx(2 * 1.82e9, rel=0.01)


def test_sweeps_get_their_students_cost(run):
    config, _ = run
    parameters = sum(p.numel() for p in build_network(dict(TINY, num_classes=10)).parameters())
    rows = [dict(config=str(config), parameters=parameters), dict(config=str(config), parameters=1), dict(config='gone.py'),
            dict(config=None)]
    measured_students(rows, latency=False)
    assert rows[0]['flops'] > 0 and [set(row) for row in rows[1:]] == [{'config', 'parameters'}, {'config'}, {'config'}]


def test_one_line():
    assert one_line(ValueError('Set a.\nmore')) == 'Set a.'
    assert one_line(RuntimeError('x\ny')) == 'RuntimeError: x.' and one_line(KeyError('a')) == 'KeyError: a.'
    assert one_line(AssertionError()) == 'AssertionError.'


def test_the_machine_is_described():
    assert machine()['threads'] == torch.get_num_threads() and machine()['hardware']


def test_a_busy_machine_is_told(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    monkeypatch.setattr('os.getloadavg', lambda: (1.0, 9.0, 9.0))
    assert busy() is None
    monkeypatch.setattr('os.getloadavg', lambda: (7.5, 0.0, 0.0))
    assert 'load 7.5 on 2 cores' in busy()


# ---- the tool

@pytest.fixture()
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    sys.modules.pop('benchmark', None)
    import benchmark as module
    yield module.main
    sys.modules.pop('benchmark', None)


def test_tool_writes_all_files(run, tool, tmp_path, capsys):
    config, released = run
    out = tmp_path / 'out'
    assert tool(['--config', str(config), '--checkpoint', str(released), 'gone.safetensors', '--latency', 'none', '--out',
                 str(out), '--method', 'kd', '--task', 'classification']) == 0
    said = capsys.readouterr().out
    assert 'note: gone.safetensors was not evaluated: ' in said and said.count('written') == 4
    rows = json.loads((out / 'benchmark.json').read_text())['rows']
    assert {row['method'].lower() for row in rows} == {'kd'} and {row['task'] for row in rows} == {'classification'}
    mine = [row for row in rows if row['checkpoint'] == str(released)]
    assert len(mine) == 1 and mine[0]['how'] == EVALUATED and 'data (' in mine[0]['differs'] and mine[0]['delta'] is None
    assert any(row['paper_score'] is not None and row['parameters'] for row in rows)
    assert '<table>' in (out / 'benchmark.html').read_text()


def test_tool_lists_and_refuses(tool, capsys):
    assert tool(['--list', '--dataset', 'digits']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split('\t')[0] == 'name'
    assert any(line.startswith('resnet20_digits\tclassification\tdigits\tnone') for line in lines)
    assert tool(['--cards', 'resnet20_digit', '--list']) == 1
    assert 'resnet20_digits' in capsys.readouterr().err
    for wrong in (['--check'], ['--config', 'a.py'], ['--checkpoint', 'a.pth'],
                  ['--cards', '--config', 'a', '--checkpoint', 'b']):
        with pytest.raises(SystemExit):
            tool(wrong)


def test_the_readme_is_current(tool, capsys):
    assert tool(['--readme', '--check']) == 0, capsys.readouterr().out
