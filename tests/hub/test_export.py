"""Exports compute what the network computes, or are not written."""
import importlib.util
import json

import pytest
import torch
from torch import nn

from tests.conftest import ROOT, TINY
from zoo.hub import export as exporting
from zoo.hub.export import ENDINGS, ExportError, export
from zoo.models import build_network
from zoo.models.released import save_released

NEEDS = {'onnx': ('onnx', 'onnxscript', 'onnxruntime')}


def needs(format: str) -> None:
    for package in NEEDS.get(format, ()):
        pytest.importorskip(package)


@pytest.fixture
def net():
    torch.manual_seed(0)
    found = build_network(dict(TINY, num_classes=10)).eval()
    found.preprocess = dict(input_shape=[3, 8, 8], mean=[0.3, 0.4, 0.5], std=[0.2, 0.3, 0.4])
    found.class_names = [str(k) for k in range(10)]
    return found


def run(path, format: str, images):
    """What a user does with the file, without the zoo; the output and the JSON in it."""
    extra = {'zoo': ''}
    if format == 'onnx':
        import onnx
        import onnxruntime
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        info = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}['zoo']
        return torch.from_numpy(session.run(None, {'images': images.numpy()})[0]), json.loads(info)
    if format == 'torchscript':
        found = torch.jit.load(str(path), _extra_files=extra)(images)
    else:
        found = torch.export.load(str(path), extra_files=extra).module()(images)
    return found, json.loads(extra['zoo'])


@pytest.mark.parametrize('format', ENDINGS)
def test_the_file_computes_what_the_network_does(net, tmp_path, format):
    needs(format)
    done = export(net, tmp_path / f'net{ENDINGS[format]}', format=format, preprocess=True, metadata=dict(name='tiny'))
    assert done.difference <= 1e-5 and done.batches == (2, 1, 3)
    images = torch.rand(5, 3, 8, 8)
    mean, std = (torch.tensor(net.preprocess[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    found, info = run(done.path, format, images)
    torch.testing.assert_close(found, net((images - mean) / std).detach(), rtol=1e-4, atol=1e-5)
    assert info['name'] == 'tiny' and info['class_names'][9] == '9' and info['expects'] == 'pixels in 0..1'
    assert list(tmp_path.iterdir()) == [done.path]


class Two(nn.Module):
    """A dict of outputs, with times and labels beside the images, as a diffusion network has them."""
    num_classes = 4

    def __init__(self):
        super().__init__()
        self.label = nn.Embedding(4, 3)

    def forward(self, x, time, labels=None, guidance=None):
        x = x * time[:, None, None, None] + self.label(labels)[:, :, None, None]
        return dict(a=x, b=[x.mean((2, 3)), None])


@pytest.mark.parametrize('format', ENDINGS)
def test_several_inputs_and_outputs(tmp_path, format):
    needs(format)
    done = export(Two(), tmp_path / 'two', format=format, input_shape=(3, 4, 4))
    assert done.difference <= 1e-6


def test_a_fixed_batch(net, tmp_path):
    assert export(net, tmp_path / 'net.pt2', format='torch.export', batch=3).batches == (3,)
    with pytest.raises(AssertionError, match='Guard failed'):
        torch.export.load(str(tmp_path / 'net.pt2')).module()(torch.rand(2, 3, 8, 8))


class Branches(nn.Module):
    """Chooses its way by the values: no graph holds both."""

    def forward(self, x):
        return x * 2 if x.sum() > 0 else x.mean((2, 3))


class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Sampled(nn.Module):
    """Traces well and computes something else for other images."""

    def forward(self, x):
        return x + float(x.flatten()[0])


class Wants(nn.Module):
    def forward(self, x, teacher):
        return x


@pytest.mark.parametrize(('net', 'format', 'message'), [
    (Branches(), 'torch.export', 'Branches cannot be exported as torch.export .*try --format onnx'),
    (Random(), 'torchscript', 'another output each time'),
    (Sampled(), 'torchscript', 'differs from the network by .*not written'),
    (Wants(), 'torchscript', "needs the input 'teacher'"),
    (nn.Conv2d(5, 3, 1), 'torchscript', 'does not run on images'),
    (nn.Identity(), 'tensorrt', 'Unknown format')])
def test_what_cannot_be_exported_is_said_and_not_written(tmp_path, net, format, message):
    with pytest.raises(ExportError, match=message):
        export(net, tmp_path / 'net', format=format, input_shape=(3, 4, 4))
    assert not list(tmp_path.iterdir())


def test_what_is_not_known(tmp_path, net, monkeypatch):
    net.preprocess = {}
    with pytest.raises(ExportError, match='--shape'):
        export(net, tmp_path / 'net', format='torchscript')
    with pytest.raises(ExportError, match='without --preprocess'):
        export(net, tmp_path / 'net', format='torchscript', input_shape=(3, 8, 8), preprocess=True)
    monkeypatch.setattr(exporting.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ExportError, match=r'pip install .*\[export\]'):
        export(net, tmp_path / 'net', format='onnx', input_shape=(3, 8, 8))


def test_tool(net, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('export_tool', ROOT / 'tools' / 'export.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / 'my_run'
    save_released(net, run / 'student.safetensors', preprocess=net.preprocess, half=True)  # float16 in, float32 computed
    assert tool.main([str(run / 'student.safetensors'), '--format', 'torchscript']) == 0
    assert (tmp_path / 'my_run.torchscript.pt').is_file() and 'batches of 2, 1, 3' in capsys.readouterr().out
    assert tool.main(['resnet20_digits', '--format', 'torchscript', '--batch', '1', '--out', 'out/net.pt']) == 0
    assert tool.main(['resnet20-digit']) == 1 and 'Did you mean resnet20_digits' in capsys.readouterr().err
    assert tool.main(['gone.safetensors']) == 1 and 'No file' in capsys.readouterr().err
    torch.save(net, 'net.pth')
    assert tool.main(['net.pth', '--format', 'torchscript']) == 1 and '--trust-pickle' in capsys.readouterr().err
    assert tool.main(['net.pth', '--format', 'torchscript', '--trust-pickle']) == 0
    torch.save(net.state_dict(), 'weights.pth')
    assert tool.main(['weights.pth', '--trust-pickle']) == 1 and 'not a network' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['resnet20_digits', '--batch', '0'])
