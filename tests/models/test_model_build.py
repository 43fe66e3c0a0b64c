"""Networks from configs, and the config that a network remembers."""
import json

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from zoo.models import CifarResNet, CifarWRN, build_network
from zoo.registry import UnknownNameError

TINY = {'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 8, 12)}


def test_builds_and_remembers():
    net = build_network({**TINY, 'checkpoint': None}, num_classes=7)
    assert net.fc.out_features == 7
    assert net.build_config == {'type': 'CifarResNet', 'depth': 8, 'widths': [4, 4, 8, 12], 'num_classes': 7}
    again = build_network(json.loads(json.dumps(net.build_config)))
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in net.state_dict().values()]


def test_config_dict_name_class_and_module():
    net = build_network(ConfigDict(TINY), num_classes=3)
    assert type(net.build_config) is dict
    assert type(net.build_config['widths']) is list
    assert isinstance(build_network('resnet8'), CifarResNet)
    assert build_network({'type': CifarWRN, 'depth': 10}).build_config == {'type': 'CifarWRN', 'depth': 10}
    module = nn.Linear(1, 1)
    assert build_network(module) is module


def test_config_says_num_classes_itself():
    assert build_network({**TINY, 'num_classes': 4}, num_classes=9).fc.out_features == 4


def test_num_classes_only_where_accepted(tmp_path):
    (tmp_path / 'nets.py').write_text('from torch import nn\n'
                                      'def flat(width=2):\n    return nn.Linear(width, width)\n'
                                      'def head(num_classes):\n    return nn.Linear(2, num_classes)\n')
    cfg = {'type': 'PythonFileModel', 'path': str(tmp_path / 'nets.py')}
    assert build_network({**cfg, 'name': 'head'}, num_classes=6).out_features == 6
    net = build_network({**cfg, 'name': 'flat'}, num_classes=6)
    assert net.out_features == 2
    assert 'num_classes' not in net.build_config


def test_other_default_scope_does_not_matter():
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert isinstance(build_network('resnet8'), CifarResNet)


@pytest.mark.parametrize('as_dict', [False, True])
def test_checkpoint(tmp_path, as_dict):
    source = build_network(TINY, num_classes=5)
    path = str(tmp_path / 'net.pth')
    if as_dict:
        torch.save({'all': {f'student.{k}': v for k, v in source.state_dict().items()} | {'x.y': torch.zeros(1)}}, path)
        checkpoint = {'path': path, 'key': 'all', 'prefix': 'student.', 'strict': True}
    else:
        torch.save(source.state_dict(), path)
        checkpoint = path
    net = build_network(ConfigDict({**TINY, 'checkpoint': checkpoint}), num_classes=5)
    torch.testing.assert_close(dict(net.state_dict()), dict(source.state_dict()))
    assert 'checkpoint' not in net.build_config


def test_errors():
    with pytest.raises(TypeError, match='list'):
        build_network([])
    with pytest.raises(KeyError, match='depth'):
        build_network({'depth': 8})
    with pytest.raises(UnknownNameError, match='resnet20'):
        build_network('resnet_20')
    with pytest.raises(ValueError, match='needs path'):
        build_network({**TINY, 'checkpoint': {'prefix': 'a'}})
    with pytest.raises(ValueError, match='does not know file'):
        build_network({**TINY, 'checkpoint': {'path': 'a', 'file': 'b'}})


def test_a_config_that_json_cannot_hold_is_warned_about(tmp_path):
    (tmp_path / 'nets.py').write_text('from torch import nn\ndef make(act):\n    return nn.Sequential(act())\n')
    with pytest.warns(UserWarning, match='JSON'):
        net = build_network({'type': 'PythonFileModel', 'path': str(tmp_path / 'nets.py'), 'name': 'make',
                             'act': nn.ReLU})
    assert net.build_config is None
