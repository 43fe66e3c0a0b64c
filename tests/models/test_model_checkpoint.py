"""Loading weights: every layout that loads, and what the errors say."""
import argparse
import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from zoo.models import CheckpointError, CifarResNet, load_checkpoint, read_state_dict
from zoo.registry import UnknownNameError


def tiny(num_classes=5, **kwargs):
    return CifarResNet(8, (4, 4, 8, 12), num_classes, **kwargs)


@pytest.fixture
def state():
    torch.manual_seed(1)
    return {k: torch.randn(v.shape) if v.is_floating_point() else v + 7 for k, v in tiny().state_dict().items()}


def assert_loaded(net, state):
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, state[key])


@pytest.mark.parametrize('outer', [None, 'state_dict', 'model', 'model_state', 'net', 'state_dict_ema', 'model.state'])
@pytest.mark.parametrize('prefix', ['', 'module.', 'module._orig_mod.', 'student.'])
def test_layouts(tmp_path, state, outer, prefix):
    content = {prefix + k: v for k, v in state.items()}
    for part in reversed(outer.split('.') if outer else []):
        content = {'epoch': 3, 'best': np.float64(0.5), 'opt': argparse.Namespace(lr=0.1), part: content}
    torch.save(content, tmp_path / 'net.pth')
    net = tiny()
    report = load_checkpoint(net, tmp_path / 'net.pth', key='model.state' if outer == 'model.state' else None)
    assert_loaded(net, state)
    assert (report.loaded, report.missing, report.unexpected) == (len(state), [], [])


def test_safetensors_and_mapping(tmp_path, state):
    save_file(state, tmp_path / 'net.safetensors')
    for source in (tmp_path / 'net.safetensors', state):
        net = tiny()
        load_checkpoint(net, source)
        assert_loaded(net, state)


def test_half_precision_file_keeps_the_networks_type(state):
    net = tiny()
    load_checkpoint(net, {k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    assert net.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(net.conv1.weight.data, state['conv1.weight'].half().float())


def test_named_prefix_takes_one_part_of_a_distillation_checkpoint(state):
    both = {**{f'student.{k}': v for k, v in state.items()}, **{f'teacher.{k}': v * 0 for k, v in state.items()}}
    net = tiny()
    load_checkpoint(net, {'state_dict': both}, prefix='student')
    assert_loaded(net, state)
    with pytest.raises(CheckpointError, match=r"'pupil\.'.*student\. \(56\), teacher\. \(56\)"):
        load_checkpoint(net, both, prefix='pupil')
    with pytest.raises(CheckpointError, match="prefix='student'"):
        load_checkpoint(net, both)


def test_num_batches_tracked_alone_may_be_missing(state):
    old = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    report = load_checkpoint(tiny(), old)
    assert report.loaded == len(old)
    assert len(report.missing) == len(state) - len(old) > 0
    del old['bn1.running_mean']
    with pytest.raises(CheckpointError, match=r'1 missing \(bn1\.running_mean\)'):
        load_checkpoint(tiny(), old)


def test_akamaster_converter(tmp_path):
    """Keys as in akamaster/pytorch_resnet_cifar10: `module.` in front, `linear`, no num_batches_tracked."""
    torch.manual_seed(2)
    source = tiny(10, shortcut='A')
    theirs = {'module.' + k.replace('fc.', 'linear.'): v for k, v in source.state_dict().items()
              if not k.endswith('num_batches_tracked')}
    torch.save({'state_dict': theirs, 'best_prec1': 91.7}, tmp_path / 'resnet8.th')
    net = tiny(10, shortcut='A')
    load_checkpoint(net, tmp_path / 'resnet8.th', rename='pytorch_resnet_cifar10')
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(net.eval()(x), source.eval()(x))
    with pytest.raises(CheckpointError, match="rename='pytorch_resnet_cifar10'"):
        load_checkpoint(net, tmp_path / 'resnet8.th')
    with pytest.raises(UnknownNameError, match='pytorch_resnet_cifar10'):
        load_checkpoint(net, tmp_path / 'resnet8.th', rename='pytorch_resnet_cifar')


def test_rename_pairs(state):
    theirs = {k.replace('layer', 'stage_').replace('fc.', 'head.'): v for k, v in state.items()}
    net = tiny()
    load_checkpoint(net, theirs, rename=[(r'^stage_(\d)', r'layer\1'), (r'^head', 'fc')])
    assert_loaded(net, state)
    with pytest.raises(CheckpointError, match='two keys'):
        load_checkpoint(net, state, rename=[(r'layer\d', 'layer')])


def test_other_number_of_classes(state):
    with pytest.raises(CheckpointError, match='num_classes=5') as error:
        load_checkpoint(tiny(9), state)
    assert '2 of other shape' in str(error.value)
    assert '[5, 12] in the file, [9, 12] in the network' in str(error.value)
    net = tiny(9)
    before = net.fc.weight.clone()
    report = load_checkpoint(net, state, strict=False)
    assert report.mismatched == {'fc.weight': ((5, 12), (9, 12)), 'fc.bias': ((5,), (9,))}
    torch.testing.assert_close(net.fc.weight.data, before)
    torch.testing.assert_close(net.conv1.weight.data, state['conv1.weight'])


def test_a_failed_strict_load_changes_nothing(state):
    net = tiny(9)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_checkpoint(net, state)
    assert_loaded(net, before)


def test_foreign_network(state):
    with pytest.raises(CheckpointError, match=r'47 missing \(.*, \.\.\.\); 2 unexpected \(a\.weight, a\.bias\)'):
        load_checkpoint(tiny(), torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict(), rename=[('^0', 'a')])
    with pytest.raises(CheckpointError):
        load_checkpoint(tiny(), {'strange.weight': torch.zeros(1)}, strict=False)


def test_missing_file(tmp_path):
    torch.save({}, tmp_path / 'resnet8.pth')
    with pytest.raises(FileNotFoundError, match=r'Beside it lie resnet8\.pth'):
        load_checkpoint(tiny(), tmp_path / 'resnet_8.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        load_checkpoint(tiny(), tmp_path)


def test_files_that_are_no_checkpoints(tmp_path):
    cases = {
        'text.pth': (b'hello, this is no checkpoint', 'text.pth'),
        'empty.pth': (b'', 'empty.pth'),
        'pointer.safetensors': (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'git lfs pull'),
        'page.pth': (b'<!DOCTYPE html><html></html>', 'web page'),
        'broken.pth': (b'PK\x03\x04' + b'\0' * 40, 'broken.pth'),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            read_state_dict(tmp_path / name)
    torch.save({'epoch': 3, 'note': 'x'}, tmp_path / 'empty_dict.pth')
    with pytest.raises(CheckpointError, match='epoch, note'):
        read_state_dict(tmp_path / 'empty_dict.pth')
    with pytest.raises(UnknownNameError, match='note'):
        read_state_dict(tmp_path / 'empty_dict.pth', key='notes')


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (print, ('unpickled',))


def test_pickles_are_refused_unless_trusted(tmp_path, state, capsys):
    torch.save({'model': state, 'extra': Trap()}, tmp_path / 'trap.pth')
    with pytest.raises(CheckpointError, match='trust_pickle=True'):
        load_checkpoint(tiny(), tmp_path / 'trap.pth')
    assert capsys.readouterr().out == ''
    net = tiny()
    load_checkpoint(net, tmp_path / 'trap.pth', trust_pickle=True)
    assert 'unpickled' in capsys.readouterr().out
    assert_loaded(net, state)


class Quiet(http.server.SimpleHTTPRequestHandler):
    requests: list = []

    def log_message(self, *args):
        self.requests.append(args)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    folder = tmp_path / 'served'
    folder.mkdir()
    Quiet.requests.clear()
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()


def test_download_is_cached_and_its_hash_checked(server, state):
    folder, address = server
    torch.save(state, folder / 'net.pth')
    digest = hashlib.sha256((folder / 'net.pth').read_bytes()).hexdigest()[:8]
    (folder / 'net.pth').rename(folder / f'net-{digest}.pth')
    (folder / 'net-00000000.pth').write_bytes((folder / f'net-{digest}.pth').read_bytes())
    for _ in range(2):
        net = tiny()
        load_checkpoint(net, f'{address}/net-{digest}.pth')
        assert_loaded(net, state)
    assert len(Quiet.requests) == 1
    with pytest.raises(CheckpointError, match='net-00000000'):
        load_checkpoint(tiny(), f'{address}/net-00000000.pth')
    with pytest.raises(CheckpointError, match='could not be downloaded'):
        load_checkpoint(tiny(), f'{address}/absent.pth')


def test_zoo_address_without_a_hub(monkeypatch):
    import importlib.util
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(CheckpointError, match=r'zoo\.hub'):
        read_state_dict('zoo://resnet8_cifar100')
