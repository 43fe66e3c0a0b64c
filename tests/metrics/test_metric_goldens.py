"""The functions of zoo.metrics against recorded values of their reference codes (tests/goldens)."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo import metrics

GOLDENS = Path(__file__).resolve().parent.parent / 'goldens'


def metric_cases():
    for path in sorted(GOLDENS.glob('*.npz')):
        with np.load(path, allow_pickle=False) as case:
            if json.loads(str(case['meta']))['namespace'] == 'zoo.metrics':
                yield path


CASES = list(metric_cases())


def test_there_are_cases():
    assert len(CASES) >= 28


@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
def test_golden(path):
    data = np.load(path, allow_pickle=False)
    meta = json.loads(str(data['meta']))
    inputs, lists = {}, {}
    for key in (key for key in data.files if key.startswith('in.')):
        tensor = torch.from_numpy(np.array(data[key]))
        if f'grad.{key[3:]}' in data.files:
            tensor.requires_grad_()
        name, _, position = key[3:].partition('.')
        if position:
            lists.setdefault(name, {})[int(position)] = tensor
        else:
            inputs[name] = tensor
    inputs.update((name, [parts[i] for i in sorted(parts)]) for name, parts in lists.items())
    result = getattr(metrics, meta['function'])(**inputs, **meta['kwargs'])
    got = result if isinstance(result, dict) else {'value': result}
    tolerance = {'rtol': meta['rtol'], 'atol': meta['atol']}
    expected = {key[4:]: data[key] for key in data.files if key.startswith('out.')}
    assert set(got) == set(expected)
    for key, want in expected.items():
        have = got[key].detach().numpy() if isinstance(got[key], torch.Tensor) else np.array(got[key])
        np.testing.assert_allclose(have.astype(want.dtype), want, **tolerance)
    for key in (key for key in data.files if key.startswith('grad.')):
        grad, = torch.autograd.grad(got['value'], inputs[key[5:]], retain_graph=True)
        np.testing.assert_allclose(grad.numpy(), data[key], **tolerance)
