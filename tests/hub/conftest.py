"""Cards and files of a scratch hub, and a server on the loopback that misbehaves as told."""
import copy
import hashlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zoo.hub import cards, download

SIZE = 300_000


def payload(size: int = SIZE) -> bytes:
    """Bytes that repeat nowhere near."""
    return b''.join(hashlib.sha256(str(i).encode()).digest() for i in range(size // 32 + 1))[:size]


def facts(name: str, data: bytes, **changes) -> dict:
    """A card's front matter for a file of these bytes; ``zoo__files__0__urls=[...]`` changes a part."""
    file = dict(name=f'{name}.safetensors', sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), dtype='float32', urls=[],
                beside=True)
    found = {
        'library_name': 'zoo', 'pipeline_tag': 'image-classification', 'license': 'apache-2.0', 'tags': ['kd'],
        'datasets': ['digits'], 'metrics': ['accuracy'],
        'model-index': [dict(name=name, results=[dict(
            task=dict(type='image-classification'), dataset=dict(type='digits', name='digits'),
            metrics=[dict(type='accuracy', name='top1', value=91.25)])])],
        'zoo': dict(
            config='configs/classification/kd/x.py', method='kd', distillers=[dict(type='KD')],
            build=dict(type='CifarResNet', depth=8, widths=[4, 4, 8, 8], num_classes=10), parameters=1234,
            preprocess=dict(input_shape=[3, 8, 8]), teachers=[dict(name='resnet20')], alone=None, verdict='Not measured.',
            data=dict(name='digits', license='CC BY 4.0'), seeds=[0], epochs=2, monitor='top1', last=dict(top1=91.25, epoch=2),
            best=dict(top1=91.5, epoch=1), training=dict(hardware='CPU', seconds=3.5, finished='2026', amp='off'),
            versions=dict(zoo='0.1.0', torch='2.15', python='3.11'), files=[file], limits=['One seed.'])}
    for path, value in changes.items():
        *parts, last = (int(part) if part.isdigit() else part for part in path.split('__'))
        at = found
        for part in parts:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return found


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Callable:
    """``hub(name, data, **changes)`` writes a card (not its file) into a folder of ``ZOO_CARDS`` and reads it."""
    folder = tmp_path / 'cards'
    folder.mkdir()
    monkeypatch.setenv('ZOO_CARDS', str(folder))
    for name in ('ZOO_MIRROR', 'ZOO_OFFLINE', 'HF_HUB_OFFLINE', 'http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(download, 'PAUSE', 0.0)
    monkeypatch.setattr(download, 'TIMEOUT', 5.0)
    monkeypatch.setattr(download, '_known_good', {})

    def write(name: str, data: bytes, **changes) -> cards.Card:
        text = cards.render(copy.deepcopy(facts(name, data, **changes)), '# A card')
        (folder / f'{name}.md').write_text(text)
        return cards.read_card(folder / f'{name}.md')
    write.folder = folder
    return write


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.data`` as the first part of the path says."""

    def do_GET(self):
        server, path = self.server, self.path
        if path.startswith('http://'):  # asked as a proxy
            path = '/' + path.removeprefix('http://').partition('/')[2]
        way = path.split('/')[1]
        wanted = self.headers.get('Range')
        server.asked.append((self.path, wanted))
        count = sum(asked == self.path for asked, _ in server.asked)
        data, start = server.data, 0
        if way == 'missing':
            return self.send_error(404)
        if way == 'flaky' and count < 3:
            return self.send_error(503)
        if way == 'redirect':
            self.send_response(302)
            self.send_header('Location', path.replace('redirect', 'plain', 1))
            self.send_header('Content-Length', '0')
            return self.end_headers()
        if wanted and way != 'norange':
            start = int(wanted.removeprefix('bytes=').rstrip('-')) + (7 if way == 'shifted' else 0)
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        else:
            self.send_response(200)
        if way == 'wrong':
            data = data[:-1] + bytes([data[-1] ^ 1])
        if way == 'page':
            data = b'<html>please log in</html>'
        if way == 'endless':
            data += data
        else:
            self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if way in ('break', 'norange', 'shifted') and (way != 'norange' or count == 1):
            body = body[:100_000]
        try:
            if way == 'slow':
                self.wfile.write(body[:1000])
                self.wfile.flush()
                time.sleep(server.delay)
            elif way == 'drip':
                for i in range(0, len(body), 10_000):
                    self.wfile.write(body[i:i + 10_000])
                    time.sleep(0.02)
            else:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = True
        return None

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server():
    """A server of ``server.data``; ``server.asked`` lists (path, Range) of each request."""
    found = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    found.daemon_threads = True
    found.data, found.asked, found.delay = payload(), [], 0.6
    found.url = f'http://127.0.0.1:{found.server_port}'
    thread = threading.Thread(target=found.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def leftovers(folder: Path) -> list[str]:
    """What lies in a folder beside locks."""
    return sorted(p.name for p in folder.rglob('*') if p.is_file() and not p.name.endswith('.lock'))
