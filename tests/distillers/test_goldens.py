"""Recorded inputs, outputs and gradients of the methods' reference codes against the package: tests/goldens/*.npz.

A case is ``<slug>__<case>.npz``. Its ``meta`` (JSON) names the callable: ``function`` of ``namespace``, or ``module``
with ``init``, of which ``function`` is the method to call, or a function that takes it first. ``in.<argument>`` are the
arguments; a number behind a dot (``in.feats.0``) is a place in a list; ``in.state.*`` is the module's state dict, or an
argument ``state`` where there is no module. ``out.*`` is what must come back (``out.value`` where it is one tensor) and
``grad.*`` the gradient of the sum of everything that came back.
"""
import importlib
import json
import zlib
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

GOLDENS = Path(__file__).resolve().parent.parent / 'goldens'
CASES = sorted(GOLDENS.glob('*__*.npz'))
SPACES = ('zoo.models', 'zoo.distillers')


def nested(flat: dict[str, Tensor]) -> dict:
    """``{'x.0': a, 'x.1': b}`` to ``{'x': [a, b]}``; a name that is no number makes a dict."""
    heads: dict[str, dict | Tensor] = {}
    for name, value in flat.items():
        head, dot, rest = name.partition('.')
        if dot:
            heads.setdefault(head, {})[rest] = value
        else:
            heads[head] = value
    inner = {head: nested(value) if isinstance(value, dict) else value for head, value in heads.items()}
    return {head: [value[key] for key in sorted(value, key=int)]
            if isinstance(value, dict) and all(key.isdigit() for key in value) else value
            for head, value in inner.items()}


def flattened(value, name: str = '') -> dict[str, Tensor]:
    """The reverse for whatever a callable returned; numbers and arrays become tensors."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    else:
        return {name or 'value': value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))}
    found = {}
    for key, entry in pairs:
        found.update(flattened(entry, f'{name}.{key}' if name else str(key)))
    return found


def toy_network(named: bool, in_features: int, hidden: int, num_classes: int) -> nn.Sequential:
    """The two-layer networks that some cases take as a student, with numbered or named layers."""
    layers = (nn.Flatten(), nn.Linear(in_features, hidden), nn.Tanh(), nn.Linear(hidden, num_classes))
    names = ('flatten', 'fc1', 'tanh', 'fc2') if named else '0123'
    return nn.Sequential(OrderedDict(zip(names, layers)))


def made_module(home, meta: dict) -> nn.Module:
    name, init = meta['module'], meta.get('init') or {}
    if 'Linear' in name:
        module = toy_network('fc1' in name, **init)
    else:
        spaces = (home, *map(importlib.import_module, SPACES))
        module = next(getattr(space, name) for space in spaces if hasattr(space, name))(**init)
    return module.to(getattr(torch, meta['dtype'])).train(meta.get('train', True))


def by_rule(net: nn.Module) -> nn.Module:
    """Fill a network by the goldens' rule: normal draws seeded by each key's CRC-32, scaled by the kind of tensor."""
    for key, tensor in net.state_dict().items():
        draws = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(tensor.shape))
        if key.endswith('num_batches_tracked'):
            draws = np.zeros(tuple(tensor.shape))
        elif key.endswith('running_var'):
            draws = 1 + np.abs(draws) / 10
        elif key.endswith(('running_mean', 'bias')):
            draws = draws / 10
        elif tensor.ndim == 1:
            draws = 1 + draws / 10
        else:
            draws = draws / np.sqrt(np.prod(tensor.shape[1:]))
        tensor.copy_(torch.as_tensor(draws))
    return net


def described_network(net: nn.Module, x_seed: Tensor) -> dict:
    """Logits, embedding and the channel means of all maps of a CIFAR network, for two random images."""
    images = torch.from_numpy(np.random.RandomState(int(x_seed)).standard_normal((2, 3, 32, 32)))
    with torch.no_grad():
        taps = net.forward_taps(images)
    means = {f'{kind}_mean': [feat.mean((2, 3)) for feat in taps.get(tap, ())]
             for kind, tap in (('feat', 'feats'), ('preact', 'preact_feats'))}
    return {'logits': taps['logits'], 'pooled': taps['pooled'], **means}


def callable_of(meta: dict, inputs: dict, state: dict[str, Tensor]):
    """What to call with ``inputs``, and the module in it, or None."""
    home, name = importlib.import_module(meta['namespace']), meta['function'] or 'forward'
    kind = meta.get('module')
    if not kind:
        if state:
            inputs['state'] = state
        return getattr(home, name), None
    if kind.startswith('GaussianDenoiser'):
        return partial(getattr(home, name), home.GaussianDenoiser(inputs.pop('mean'), inputs.pop('std'))), None
    module = made_module(home, meta)
    if meta['method'] == 'cifar_arch':
        return partial(described_network, by_rule(module)), module
    if state:
        module.load_state_dict(state)
    if name in ('forward', kind):
        return module, module
    return getattr(module, name, None) or partial(getattr(home, name), module), module


def check(path: Path) -> int:
    """Run one case; returns how many arrays were compared.

    Raises:
        AssertionError: naming the output or gradient that is missing or differs.
    """
    with np.load(path, allow_pickle=False) as archive:
        data = {key: np.array(archive[key]) for key in archive.files}
    meta = json.loads(str(data.pop('meta')))
    part = {kind: {key.removeprefix(f'{kind}.'): value for key, value in data.items() if key.startswith(f'{kind}.')}
            for kind in ('in', 'out', 'grad')}
    tensors = {key: torch.from_numpy(value) for key, value in part['in'].items()}
    state = {key.removeprefix('state.'): tensors.pop(key) for key in list(tensors) if key.startswith('state.')}
    leaves = {key: tensors[key].requires_grad_() for key in part['grad'] if key in tensors}
    inputs = nested(tensors)
    call, module = callable_of(meta, inputs, state)
    if module is not None:
        parameters = ((f'state.{key}', value) for key, value in module.named_parameters())
        leaves.update((key, value) for key, value in parameters if key in part['grad'])
    assert set(leaves) == set(part['grad']), f'no input or parameter for gradients {set(part["grad"]) - set(leaves)}'
    got = flattened(call(**inputs, **meta.get('kwargs', {})))

    def compare(have: np.ndarray, want: np.ndarray, name: str) -> None:
        np.testing.assert_allclose(have.astype(want.dtype).reshape(want.shape), want, rtol=meta.get('rtol', 1e-6),
                                   atol=meta.get('atol', 1e-8), err_msg=name)

    assert part['out'], f'{path.name} expects nothing'
    for key, want in part['out'].items():
        have = got.get(key, got.get(key.removeprefix('value.')))
        assert have is not None, f'out.{key} is missing; there are {", ".join(got)}'
        compare(have.detach().numpy(), want, f'out.{key}')
    if leaves:
        total = [value.sum() for value in got.values() if value.requires_grad]
        assert total, 'the result carries no gradient'
        grads = torch.autograd.grad(sum(total), list(leaves.values()), allow_unused=True)
        for key, grad in zip(leaves, grads):
            want = part['grad'][key]
            compare(np.zeros_like(want) if grad is None else grad.numpy(), want, f'grad.{key}')
    return len(part['out']) + len(part['grad'])


@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
def test_golden(path):
    assert check(path) > 0


def test_there_are_goldens():
    assert len(CASES) > 100
    assert {'kd', 'cifar_arch', 'linear_cka'} <= {path.stem.partition('__')[0] for path in CASES}


@pytest.mark.parametrize(('case', 'key', 'message'), [
    ('kd__t4', 'out.value', 'out.value'),
    ('kd__t4', 'grad.student_logits', 'grad.student_logits'),
    ('reviewkd__module_cifar', 'out.value.1', 'out.value.1'),
    ('vid__pool', 'in.state.log_scale', 'out.value'),
    ('cifar_arch__resnet20', 'out.feat_mean.2', 'out.feat_mean.2'),
])
def test_a_wrong_value_fails(case, key, message, tmp_path):
    """One entry off by a thousandth of the array's largest."""
    with np.load(GOLDENS / f'{case}.npz', allow_pickle=False) as archive:
        data = {name: np.array(archive[name]) for name in archive.files}
    data[key].flat[0] += np.abs(data[key]).max() * 1e-3
    np.savez(tmp_path / f'{case}.npz', **data)
    with pytest.raises(AssertionError, match=message):
        check(tmp_path / f'{case}.npz')


def test_a_missing_output_or_gradient_fails(tmp_path):
    with np.load(GOLDENS / 'kd__t4.npz', allow_pickle=False) as archive:
        data = {name: np.array(archive[name]) for name in archive.files}
    np.savez(tmp_path / 'a.npz', **{key.replace('out.value', 'out.other'): value for key, value in data.items()})
    with pytest.raises(AssertionError, match='out.other is missing'):
        check(tmp_path / 'a.npz')
    np.savez(tmp_path / 'b.npz', **{key.replace('grad.student', 'grad.pupil'): value for key, value in data.items()})
    with pytest.raises(AssertionError, match='pupil_logits'):
        check(tmp_path / 'b.npz')


def test_nesting_and_its_reverse():
    flat = {'x.1': torch.tensor(1), 'x.0': torch.tensor(0), 'y': torch.tensor(2), 'z.a.0': torch.tensor(3)}
    tree = nested(flat)
    assert tree['x'] == [torch.tensor(0), torch.tensor(1)] and tree['z'] == {'a': [torch.tensor(3)]}
    assert flattened(tree) == flat and list(flattened(1.5)) == ['value']
