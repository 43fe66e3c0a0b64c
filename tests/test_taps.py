"""Taps: names, lists, views, shapes, errors, and nothing left behind."""
import gc
import weakref

import pytest
import torch
from torch import nn

from tests.conftest import TINY
from zoo.models import build_network
from zoo.registry import UnknownNameError
from zoo.taps import TapReader, Taps


class Plain(nn.Module):
    """A network without ``forward_taps``."""

    def __init__(self, stages: int = 2):
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1) for i in range(stages)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.pool(self.body(x)).flatten(1))


IMAGES = torch.randn(2, 3, 8, 8)


def test_a_zoo_network_by_all_kinds_of_names():
    net = build_network(dict(TINY)).eval()
    reader = TapReader(net)
    taps = reader(IMAGES, ['logits', 'pooled', 'final_map', 'stages', 'stages.-1', 'feats.0', 'layer2.0.conv1', 'fc:input'])
    assert len(taps['stages']) == 3 and torch.equal(taps['stages'][-1], taps['stages.-1'])
    assert torch.equal(taps['stages.-1'], taps['final_map']) and torch.equal(taps['pooled'], taps['fc:input'])
    assert torch.equal(taps['logits'], net(IMAGES)) and taps['layer2.0.conv1'].shape[1] == 8
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize('stages', [1, 2])
def test_a_plain_network_by_dry_run(stages):
    net = Plain(stages).eval()
    reader = TapReader(net, IMAGES)
    taps = reader(IMAGES, ['logits', 'pooled', 'final_map', 'stages', 'body.0'])
    assert isinstance(taps['stages'], list) and len(taps['stages']) == stages
    assert torch.equal(net.fc(taps['pooled']), taps['logits'])
    assert torch.equal(taps['stages'][0], taps['body.0']) and torch.equal(taps['stages'][-1], taps['final_map'])
    assert reader.classifier is net.fc


def test_shapes_leave_the_network_alone():
    net = build_network(dict(TINY)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    shapes = TapReader(net).shapes(['logits@strong', 'stages'], IMAGES)
    assert shapes['logits@strong'] == (2, 10) or shapes['logits@strong'][0] == 2
    assert [len(s) for s in shapes['stages']] == [4, 4, 4]
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(('name', 'near'), [('layr2', 'layer2'), ('stages.7', '0 to 2'), ('poold', 'pooled'),
                                            ('layer2.0.conv9', 'layer2.0.conv1')])
def test_unknown_names_list_near_ones(name, near):
    with pytest.raises(UnknownNameError, match=near):
        TapReader(build_network(dict(TINY)))(IMAGES, [name])


def test_half_precision_is_read_as_float():
    taps = Taps(dict(a=torch.ones(2, dtype=torch.bfloat16), b=[torch.ones(2, dtype=torch.float16)], c=torch.ones(2).double()))
    assert taps['a'].dtype == taps['b'][0].dtype == torch.float32 and taps['c'].dtype == torch.float64
    with pytest.raises(UnknownNameError, match="Unknown tap 'd'"):
        taps['d']


def test_no_memory_is_kept_after_the_step():
    net = build_network(dict(TINY))
    reader = TapReader(net)
    taps = reader(IMAGES, ['stages', 'layer3.0'])
    watched = [weakref.ref(t) for t in (*taps['stages'], taps['layer3.0'])]
    del taps
    gc.collect()
    assert not any(w() is not None for w in watched)


def test_a_second_pass():
    net = build_network(dict(TINY)).eval()
    taps = TapReader(net)(IMAGES, ['logits'])
    assert torch.equal(taps.run(IMAGES, ['logits'])['logits'], taps['logits'])
