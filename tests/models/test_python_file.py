"""Networks from a user's own Python file."""
import pytest
import torch
from torch import nn

from zoo.models import PythonFileModel, build_network
from zoo.registry import UnknownNameError

SOURCE = '''
from torch import nn
from neighbour_of_the_user import WIDTH

class SmallNet(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.fc = nn.Linear(WIDTH, num_classes)
    def forward(self, x):
        return self.fc(x)

class Family:
    @staticmethod
    def tiny():
        return SmallNet(3)

def make_nothing():
    return 5
'''


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'my_nets.py').write_text(SOURCE)
    (tmp_path / 'neighbour_of_the_user.py').write_text('WIDTH = 4\n')
    return str(tmp_path / 'my_nets.py')


def test_class_function_and_neighbour(path):
    net = PythonFileModel(path, 'SmallNet', num_classes=5)
    assert net(torch.randn(2, 4)).shape == (2, 5)
    assert PythonFileModel(path, 'Family.tiny').fc.out_features == 3
    assert type(net) is type(PythonFileModel(path, 'SmallNet'))


def test_an_edited_file_is_read_anew(path):
    assert PythonFileModel(path, 'SmallNet').fc.out_features == 2
    with open(path, 'a') as file:
        file.write('\nclass SmallNet(SmallNet):\n    extra = 1\n')
    assert PythonFileModel(path, 'SmallNet').extra == 1


def test_build_network_records_the_file(path):
    net = build_network({'type': 'PythonFileModel', 'path': path, 'name': 'SmallNet'}, num_classes=6)
    assert net.fc.out_features == 6
    assert net.build_config == {'type': 'PythonFileModel', 'path': path, 'name': 'SmallNet', 'num_classes': 6}


def test_errors(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'my_nets\.py'):
        PythonFileModel(str(tmp_path / 'mynets.py'), 'SmallNet')
    with pytest.raises(UnknownNameError, match='it defines Family, SmallNet, make_nothing. Did you mean SmallNet'):
        PythonFileModel(path, 'Smallnet')
    with pytest.raises(UnknownNameError, match='SmallNet'):
        PythonFileModel(path, 'WIDTH')
    with pytest.raises(TypeError, match='returned a int'):
        PythonFileModel(path, 'make_nothing')
    (tmp_path / 'broken.py').write_text('raise RuntimeError("on import")\n')
    for _ in range(2):
        with pytest.raises(RuntimeError, match='on import'):
            PythonFileModel(str(tmp_path / 'broken.py'), 'x')
    assert isinstance(PythonFileModel(path, 'SmallNet'), nn.Module)
