"""Transfers over a real server on the loopback; every failure ends with right bytes or with none."""
import errno
import importlib.util
import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import ROOT, TINY
from zoo.hub import DownloadError, cache_folder, checkpoint_path, download, fetch
from zoo.models import build_network
from zoo.models.released import save_released
from zoo.registry import UnknownNameError

from .conftest import SIZE, leftovers, payload


def url(server, way: str, name: str = 'net') -> str:
    return f'{server.url}/{way}/{name}.safetensors'


@pytest.mark.parametrize(('way', 'requests'), [('plain', 1), ('redirect', 2), ('break', 3), ('norange', 2), ('flaky', 3)])
def test_the_right_bytes_arrive(hub, server, way, requests):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, way)])
    seen = []
    path = fetch(card, progress=lambda done, size: seen.append((done, size)))
    assert path.read_bytes() == server.data and path.is_relative_to(cache_folder())
    assert len(server.asked) == requests and seen[-1] == (SIZE, SIZE)
    if way == 'break':  # each request continues where the last one broke
        assert [wanted for _, wanted in server.asked] == [None, 'bytes=100000-', 'bytes=200000-']
    assert fetch(card) == path and len(server.asked) == requests  # from the cache
    assert leftovers(cache_folder()) == ['net.safetensors']


@pytest.mark.parametrize(('way', 'why'), [
    ('missing', '404'), ('wrong', 'another sha256'), ('page', 'offers 26 bytes where the card says 300,000'),
    ('slow', 'timed out'), ('shifted', 'broke off')])
def test_wrong_answers_are_said_and_leave_nothing(hub, server, monkeypatch, way, why):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    monkeypatch.setattr(download, 'ATTEMPTS', 2)
    server.delay = 0.5
    card = hub('net', server.data, zoo__files__0__urls=[url(server, way)])
    with pytest.raises(DownloadError, match=why) as caught:
        fetch(card)
    assert url(server, way) in str(caught.value) and '--mirror' in str(caught.value)
    assert 'net.safetensors' not in leftovers(cache_folder())


def test_more_bytes_than_promised_are_not_read(hub, server):
    assert fetch(hub('net', server.data, zoo__files__0__urls=[url(server, 'endless')])).read_bytes() == server.data


def test_a_server_that_breaks_off_too_often(hub, server, monkeypatch):
    monkeypatch.setattr(download, 'MAX_ATTEMPTS', 2)
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'break')])
    with pytest.raises(DownloadError, match='broke off 2 times'):
        fetch(card)
    assert fetch(card).read_bytes() == server.data  # the next call continues
    assert [wanted for _, wanted in server.asked] == [None, 'bytes=100000-', 'bytes=200000-']


def test_the_next_source_is_tried(hub, server):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'missing'), url(server, 'wrong'), url(server, 'plain')])
    assert fetch(card).read_bytes() == server.data
    assert [asked.split('/')[1] for asked, _ in server.asked] == ['missing', 'wrong', 'plain']


def test_a_part_of_an_earlier_attempt_is_continued(hub, server, tmp_path):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    dest = tmp_path / 'dest'
    dest.mkdir()
    (dest / '.net.safetensors.part').write_bytes(server.data[:123_456])
    assert fetch(card, dest=dest).read_bytes() == server.data
    assert server.asked[0][1] == 'bytes=123456-' and leftovers(dest) == ['net.safetensors']


@pytest.mark.parametrize('garbage', [b'x' * 5000, b'x' * SIZE, b'x' * (SIZE + 1)])
def test_a_wrong_part_is_thrown_away(hub, server, tmp_path, garbage):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    (tmp_path / '.net.safetensors.part').write_bytes(garbage)
    assert fetch(card, dest=tmp_path).read_bytes() == server.data


def test_a_changed_file_in_the_cache_is_fetched_again(hub, server):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    path = fetch(card)
    path.write_bytes(b'x' * SIZE)
    assert fetch(card).read_bytes() == server.data and len(server.asked) == 2
    path.write_bytes(b'x' * SIZE)
    with pytest.raises(DownloadError):  # offline it is not used, and not kept
        fetch(card, offline=True)
    assert not path.exists()


def test_sources_in_order(hub, server, tmp_path, monkeypatch):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    folder = tmp_path / 'mirror'
    folder.mkdir()
    (folder / 'net.safetensors').write_bytes(server.data)
    assert fetch(card, mirrors=[str(folder)]) == folder / 'net.safetensors' and not server.asked
    (folder / 'net.safetensors').write_bytes(b'short')
    assert fetch(card, mirrors=[str(folder), f'{server.url}/redirect']).is_relative_to(cache_folder())
    assert [asked.split('/')[1] for asked, _ in server.asked] == ['redirect', 'plain']
    (hub.folder / 'net.safetensors').write_bytes(server.data)
    assert fetch(card).parent == hub.folder  # beside the card
    assert fetch(card, dest=tmp_path / 'copy').read_bytes() == server.data and len(server.asked) == 2
    with pytest.raises(DownloadError, match='mirror ftp'):
        fetch(hub('other', b'abc'), mirrors=['ftp://somewhere'])


def test_offline(hub, server, monkeypatch):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    with pytest.raises(DownloadError, match='not asked \\(offline\\)'):
        fetch(card, offline=True)
    monkeypatch.setenv('ZOO_OFFLINE', '1')
    with pytest.raises(DownloadError, match='Go online'):
        fetch(card)
    assert not server.asked
    assert fetch(card, offline=False).is_file()
    assert fetch(card).is_file()  # in the cache by now


def test_a_proxy_is_asked(hub, server, monkeypatch):
    monkeypatch.delenv('no_proxy')
    monkeypatch.delenv('NO_PROXY', raising=False)
    monkeypatch.setenv('http_proxy', server.url)
    card = hub('net', server.data, zoo__files__0__urls=['http://zoo.invalid/plain/net.safetensors'])
    assert fetch(card).read_bytes() == server.data
    assert server.asked == [('http://zoo.invalid/plain/net.safetensors', None)]


def test_no_room(hub, server, tmp_path, monkeypatch):
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain'), url(server, 'redirect')])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(DownloadError, match='No room in .*ZOO_CACHE'):
            fetch(card)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(cache_folder()) == [] and len(server.asked) == 1  # another source would not help
    monkeypatch.setattr(download.shutil, 'disk_usage', lambda folder: type('Usage', (), dict(free=1000)))
    with pytest.raises(DownloadError, match='0.3 MB are needed and 0.0 MB free'):
        fetch(card)
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_written(hub, server, tmp_path):
    (tmp_path / 'file').write_text('')
    card = hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    with pytest.raises(DownloadError, match='cannot be written'):
        fetch(card, dest=tmp_path / 'file' / 'below')


def test_two_processes_at_once(hub, server):
    """One downloads, the other waits for it and finds the file."""
    hub('net', server.data, zoo__files__0__urls=[url(server, 'drip')])
    code = "from zoo.hub import checkpoint_path; print(checkpoint_path('net'))"
    running = [subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0] and len(paths) == 1
    with open(paths.pop(), 'rb') as file:
        assert file.read() == server.data
    assert len(server.asked) == 1


def test_hugging_face(hub, tmp_path, monkeypatch):
    data, calls = payload(5000), []

    def hf_hub_download(repository, path, *, revision, local_dir):
        calls.append((repository, path, revision))
        if repository == 'gone/gone':
            raise RuntimeError('404 Client Error.\nRepository not found')
        local_dir.mkdir(parents=True)
        (local_dir / path).write_bytes(data)
        return str(local_dir / path)
    monkeypatch.setattr('huggingface_hub.hf_hub_download', hf_hub_download)
    card = hub('net', data, zoo__files__0__urls=['hf://gone/gone/net.safetensors', 'hf://me/zoo@v1/net.safetensors'])
    path = fetch(card)
    assert path.read_bytes() == data and calls == [('gone/gone', 'net.safetensors', None), ('me/zoo', 'net.safetensors', 'v1')]
    assert leftovers(cache_folder()) == ['net.safetensors']
    data = data[::-1]
    with pytest.raises(DownloadError, match='another sha256'):
        fetch(card, dest=tmp_path / 'x', offline=False) if path.unlink() is None else None
    with pytest.raises(DownloadError, match='404 Client Error'):
        fetch(hub('other', b'abc', zoo__files__0__urls=['hf://gone/gone/other.safetensors']))
    with pytest.raises(DownloadError, match='no address of the form'):
        fetch(hub('third', b'abc', zoo__files__0__urls=['hf://gone']))


def test_pickles_are_refused(hub, server, tmp_path):
    torch.save({'a': torch.zeros(2)}, hub.folder / 'net.pth')
    data = (hub.folder / 'net.pth').read_bytes()
    card = hub('net', data, zoo__files__0__name='net.pth')
    with pytest.raises(DownloadError, match='is a pickle.*--trust-pickle'):
        fetch(card)
    assert fetch(card, trust_pickle=True) == hub.folder / 'net.pth'
    (hub.folder / 'sly.safetensors').write_bytes(data)
    with pytest.raises(DownloadError, match='pickle although its name'):
        fetch(hub('sly', data))


def test_a_path_for_a_name_is_refused(hub, server, tmp_path):
    card = hub('net', server.data)
    for name in ('../net.safetensors', '/etc/passwd', 'a/../../b.safetensors', '..', '.hidden', 'a\\b'):
        with pytest.raises(DownloadError, match='is a path, not a name'):
            fetch(card, {**card.files[0], 'name': name}, dest=tmp_path / 'dest')
    assert not (tmp_path / 'dest').exists()


def test_names_in_configs(hub, server):
    net = build_network(dict(TINY, num_classes=10))
    path = save_released(net, hub.folder / 'away.safetensors', preprocess=dict(input_shape=[3, 8, 8]))
    server.data = path.read_bytes()
    path.unlink()
    hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    built = build_network(dict(TINY, num_classes=10, checkpoint='zoo://net'))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), built.state_dict().values()))
    with pytest.raises(UnknownNameError, match='Did you mean net'):
        checkpoint_path('nett')


def test_weights_without_a_network(hub):
    import zoo
    save_file({'a': torch.zeros(2)}, hub.folder / 'net.safetensors')
    hub('net', (hub.folder / 'net.safetensors').read_bytes())
    with pytest.raises(ValueError, match='not how to build the network'):
        zoo.load('net')
    fresh = zoo.load('net', pretrained=False)
    assert fresh.preprocess == dict(input_shape=[3, 8, 8]) and not fresh.training


# ---- tools/download.py

@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('download_tool', ROOT / 'tools' / 'download.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_tool_downloads(tool, hub, server, tmp_path, capsys):
    hub('net', server.data, zoo__files__0__urls=[url(server, 'plain')])
    hub('lost', b'abc', zoo__files__0__urls=[url(server, 'missing')])
    assert tool(['net', '--dest', str(tmp_path / 'dest')]) == 0
    assert capsys.readouterr().out == f'net\t{tmp_path}/dest/net.safetensors\n'
    assert tool(['lost', 'net']) == 1  # the other one is got all the same
    out, err = capsys.readouterr()
    assert out.startswith('net\t') and '404' in err
    assert tool(['nett']) == 1 and 'Did you mean net' in capsys.readouterr().err
    assert tool(['lost', '--offline']) == 1 and 'offline' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool([])


def test_tool_lists(tool, hub, capsys):
    hub('small', b'abc', zoo__parameters=1000)
    hub('large', b'abc', zoo__parameters=5_000_000, zoo__method=['dkd', 'at'])
    (hub.folder / 'broken.md').write_text('---\nlicense: mit\n---\n')
    assert tool(['--list', '--dataset', 'DIGITS', '--max-parameters', '1k']) == 0
    out, err = capsys.readouterr()
    assert [line.split('\t')[0] for line in out.splitlines()] == ['name', 'small'] and 'Card broken: ' in err
    assert tool(['--list', '--method', 'at', '--json']) == 0
    assert '"name": "large"' in capsys.readouterr().out
    assert tool(['--list', '--task', 'object-detection', '--method', 'at']) == 1


def test_a_full_disk_in_hugging_face(hub, monkeypatch):
    def hf_hub_download(*args, **options):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr('huggingface_hub.hf_hub_download', hf_hub_download)
    with pytest.raises(DownloadError, match='No room'):
        fetch(hub('net', b'abc', zoo__files__0__urls=['hf://me/zoo/net.safetensors']))
