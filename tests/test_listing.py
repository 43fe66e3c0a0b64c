"""tools/list.py and zoo.listing."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import listing
from zoo.registry import METRICS, Registry, UnknownNameError

SCRIPT = Path(__file__).resolve().parent.parent / 'tools' / 'list.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('list_tool', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_matches():
    assert listing.matches('ResNet20', 'resnet') and listing.matches('ResNet20', 'RES*20')
    assert listing.matches('a', None)
    assert not listing.matches('preresnet20', 'resnet*') and listing.matches('preresnet20', 'resnet')


def test_metrics_with_their_summaries():
    found = {entry.name: entry.summary for entry in listing.entries('metrics')}
    assert found['ClassificationMetric'].startswith('Top-1') and set(found) == set(METRICS.names())
    assert listing.entries('metrics', 'no such') == []


def test_summary_is_the_things_own_and_room_is_by_module():
    registry = Registry('thing')

    class Parent:
        """A parent."""

    class Child(Parent):
        pass

    registry.register_module(module=Parent)
    registry.register_module(module=Child)
    assert listing._registered(registry) == [listing.Entry('Child', ''), listing.Entry('Parent', 'A parent.')]
    assert listing._registered(registry, 'zoo.models') == []


def test_tables_tell_paper_and_counts():
    entry, = listing.entries('tables', 'dkd')
    assert entry.summary.startswith('Decoupled Knowledge Distillation (CVPR 2022, arXiv:2203.08679): 18 results')


def test_configs_by_their_head(tmp_path, monkeypatch):
    (tmp_path / '_base_').mkdir()
    (tmp_path / '_base_' / 'cifar.py').write_text('# base\n')
    (tmp_path / 'cls').mkdir()
    (tmp_path / 'cls' / 'a.py').write_text('# python tools/train.py ...\nx = 1\n')
    (tmp_path / 'cls' / 'b.py').write_text('"""A config.\n\nMore."""\n')
    (tmp_path / 'cls' / 'c.py').write_text('x = (\n')
    monkeypatch.setattr(listing, 'configs_folder', lambda: tmp_path)
    assert [(e.name, e.summary) for e in listing.entries('configs')] == [
        ('configs/cls/a.py', 'python tools/train.py ...'), ('configs/cls/b.py', 'A config.'),
        ('configs/cls/c.py', 'cannot be parsed: line 1')]
    assert len(listing.entries('configs', 'cls/a')) == 1
    monkeypatch.setattr(listing, 'configs_folder', lambda: tmp_path / 'absent')
    assert listing.entries('configs') == []


def test_timm_models_only_when_asked():
    found = listing.entries('models', 'timm:vit_tiny_patch16_2*')
    summaries = {entry.name: entry.summary for entry in found}
    assert 'augreg_in21k_ft_in1k' in summaries['timm:vit_tiny_patch16_224']
    assert all(entry.name.startswith('timm:vit_tiny_patch16_2') for entry in found)
    with pytest.raises(ValueError, match='models timm:x'):
        listing.entries('tables', 'timm:x')


def test_unknown_room_names_the_nearest():
    with pytest.raises(UnknownNameError, match='Did you mean distillers'):
        listing.entries('distiller')


def test_overview_survives_a_broken_room(monkeypatch):
    def broken():
        raise ImportError('no module named mmdet\nmore')
    monkeypatch.setattr(listing, '_ROOMS', {'hooks': broken, 'metrics': listing._ROOMS['metrics']})
    monkeypatch.setattr(listing, 'ROOMS', ('hooks', 'metrics'))
    assert listing.overview() == [listing.Entry('hooks', 'cannot be listed: no module named mmdet'),
                                  listing.Entry('metrics', str(len(METRICS.names())))]


def test_tool_prints_plain_lines_when_piped(tool, capsys):
    assert tool.main(['tables', 'dkd']) == 0
    out = capsys.readouterr().out
    assert out.count('\n') == 1 and out.startswith('dkd\tDecoupled') and '\x1b' not in out
    assert tool.main(['tables', 'no such table']) == 1


def test_tool_refuses_an_unknown_room(tool, capsys):
    with pytest.raises(SystemExit) as caught:
        tool.main(['table'])
    assert caught.value.code == 2 and capsys.readouterr().err == "Unknown room 'table'. Did you mean tables?\n"


def test_rich_shows_whole_names(capsys):
    name = 'a_rather_long_name_of_a_thing'
    assert listing.render([listing.Entry(name, 'word ' * 100), listing.Entry('x', '[b]')], rich_output=True) is None
    out = capsys.readouterr().out
    assert name in out and '[b]' in out and len(out.splitlines()) == 2


def test_tool_runs_as_a_script_from_anywhere(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), 'tables', 'dk?'], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120, check=True)
    assert done.stdout.startswith('dkd\t')
