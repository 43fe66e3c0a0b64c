"""Taps of networks that name none, found by a dry run."""
import torch
from torch import nn

from zoo.models import CifarResNet, generic_tap_points


class Residual(nn.Module):
    """Shrinks by two; its first convolution still sees the large map."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * channels, 2 * channels, 1), nn.Sigmoid())

    def forward(self, x):
        x = self.second(self.first(x).relu())
        return x * self.gate(x)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.down1, self.down2 = Residual(4), Residual(8)
        self.side = nn.Linear(16, 7)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x):
        x = self.down2(self.down1(self.stem(x))).mean((2, 3))
        self.side(x)
        return self.head(x)


EXPECTED = {'pooled': ('head.1', 'input'), 'final_map': ('down2', 'output'), 'feats.0': ('stem', 'output'),
            'feats.1': ('down1', 'output'), 'feats.2': ('down2', 'output')}


def test_finds_stages_and_head():
    assert generic_tap_points(Plain(), torch.randn(2, 3, 16, 16)) == EXPECTED
    assert generic_tap_points(Plain(), torch.randn(2, 3, 16, 24)) == EXPECTED


def test_leaves_modes_statistics_and_hooks_as_they_were():
    net = Plain().train()
    net.down1.eval()
    modes = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    generic_tap_points(net, torch.randn(2, 3, 16, 16))
    assert [m.training for m in net.modules()] == modes
    torch.testing.assert_close(dict(net.state_dict()), state)
    assert not any(m._forward_hooks for m in net.modules())


def test_restores_after_an_error():
    net = Plain().train()
    try:
        generic_tap_points(net, torch.randn(2, 5, 16, 16))
    except RuntimeError:
        pass
    else:
        raise AssertionError('the input has five channels')
    assert all(m.training for m in net.modules())
    assert not any(m._forward_hooks for m in net.modules())


def test_a_stage_of_one_pixel_is_a_map_but_a_pooled_vector_is_not():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(8, 2))
    points = generic_tap_points(net, torch.randn(1, 3, 4, 4))
    assert points['final_map'] == ('1', 'output')
    assert points['pooled'] == ('4', 'input')


def test_a_network_without_linear_head_or_maps():
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert generic_tap_points(conv, torch.randn(1, 3, 8, 8)) == {'final_map': ('1', 'output'),
                                                                 'feats.0': ('1', 'output')}
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    assert generic_tap_points(mlp, torch.randn(1, 3, 2, 2)) == {'pooled': ('3', 'input')}


def test_agrees_with_a_network_that_names_its_taps():
    net = CifarResNet(8, (4, 4, 8, 12), 5)
    points = generic_tap_points(net, torch.randn(1, 3, 16, 16))
    assert points['pooled'] == ('fc', 'input')
    assert points['final_map'] == ('layer3', 'output')
    assert [points[f'feats.{i}'][0] for i in range(3)] == ['layer1', 'layer2', 'layer3']
