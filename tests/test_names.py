"""What networks are called in tables and cards: an altered one never bears the name of the original alone."""
import doctest

import pytest

from zoo import names
from zoo.names import architecture
from zoo.tables.records import name_key


def test_examples():
    assert doctest.testmod(names).failed == 0


SEGMENTOR = dict(type='EncoderDecoder', backbone=dict(type='ResNetV1c', depth=18),
                 decode_head=dict(type='DepthwiseSeparableASPPHead'))


@pytest.mark.parametrize('network, name', [
    (dict(type='MMSegModel', model=SEGMENTOR), 'DeepLabV3+ ResNetV1c18'),
    (dict(type='LabelAssistedSegmentor', model=SEGMENTOR), 'label-assisted DeepLabV3+ ResNetV1c18'),
    (dict(type='MMSegModel', model=dict(SEGMENTOR, decode_head=[dict(type='FCNHead'), dict(type='OCRHead')])),
     'OCRNet ResNetV1c18'),
    (dict(type='MMDetModel', config='nowhere/gfl_r50.py', model=dict(backbone=dict(depth=18, base_channels=64))),
     'gfl_r50 (depth=18)'),
    (dict(type='resnet20', num_classes=10, checkpoint='a.pth'), 'resnet20'),
    (dict(type='resnet20', shortcut='A'), 'resnet20 (shortcut=A)'),
    (dict(type='TimmModel', model_name='resnet18', pretrained=True), 'resnet18'),
])
def test_names(network, name):
    assert architecture(network) == name


def test_a_config_of_the_package_is_read():
    pytest.importorskip('mmdet')
    network = dict(type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py')
    assert architecture(network) == 'GFL ResNet50'
    narrow = dict(network, model=dict(backbone=dict(depth=18, base_channels=16)))
    assert architecture(narrow) == 'GFL ResNet18 (base_channels=16)'


def test_an_altered_network_is_not_taken_for_the_papers():
    assert name_key(architecture(dict(type='wrn_16_2'))) == name_key('WRN-16-2')
    assert name_key(architecture(dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))) != name_key('resnet8')
