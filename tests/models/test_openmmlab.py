"""Networks of mmdet and mmseg from their own configs, and timm's as their backbones."""
import importlib.util

import numpy as np
import pytest
import timm
import torch
from mmengine.logging import HistoryBuffer

from zoo.models import CheckpointError, TimmBackbone, build_network, load_checkpoint
from zoo.models.openmmlab import (
    MissingPackageError,
    merged,
    read_model_config,
    require,
    set_num_classes,
    without_pretrained,
)
from zoo.models.released import load_released, save_released

GFL = dict(type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_coco.py', num_classes=3, model=dict(
    backbone=dict(depth=18, stem_channels=8, base_channels=8), neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1)))


def test_merged():
    base = dict(backbone=dict(type='ResNet', depth=50, init=dict(a=1)), heads=[dict(type='A', k=1), dict(type='B', k=2)], n=1)
    assert merged(base, dict(backbone=dict(depth=18)))['backbone'] == dict(type='ResNet', depth=18, init=dict(a=1))
    assert merged(base, dict(backbone=dict(type='Other', x=1)))['backbone'] == dict(type='Other', x=1)
    assert merged(base, dict(backbone=dict(_delete_=True, type='ResNet')))['backbone'] == dict(type='ResNet')
    assert merged(base, dict(heads={1: dict(k=5)}))['heads'] == [dict(type='A', k=1), dict(type='B', k=5)]
    assert merged(base, dict(heads=[]))['heads'] == [] and base['n'] == 1 and len(base['heads']) == 2


def test_missing_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'mmdet' else find(name, *a))
    with pytest.raises(MissingPackageError, match=r'mmdet, which is not installed: pip install'):
        require('mmdet')
    assert issubclass(MissingPackageError, ValueError)  # told in one sentence by the tools


def test_unknown_config_names_near_ones():
    pytest.importorskip('mmdet')
    with pytest.raises(FileNotFoundError, match='mmdet::gfl/gfl_r50_fpn_1x_coco.py'):
        build_network(dict(type='MMDetModel', config='mmdet::gfl/gfl_r50_fpn_1x_cocoo.py'))
    with pytest.raises(ValueError, match='mmdet cannot build GFL.*nonsense'):
        build_network(dict(GFL, model=dict(backbone=dict(nonsense=1))))


def test_detector_is_mmdets_own_and_survives_release(tmp_path):
    pytest.importorskip('mmdet')
    net = build_network(GFL)
    assert type(net).__module__.startswith('mmdet.') and net.bbox_head.num_classes == 3
    # without ImageNet weights nothing is frozen
    assert net.backbone.frozen_stages == -1 and not net.backbone.norm_eval
    assert all(p.requires_grad for p in net.parameters())
    assert build_network(dict(GFL, model=dict(GFL['model'], backbone=dict(
        GFL['model']['backbone'], frozen_stages=1)))).backbone.frozen_stages == 1
    loaded = load_released(save_released(net, tmp_path / 'net.safetensors'))
    assert type(loaded) is type(net)
    for key, value in net.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
    from mmdet.registry import MODELS
    theirs = MODELS.build(dict(merged(read_model_config(GFL['config'], 'mmdet'), GFL['model']), _scope_='mmdet'))
    assert {k for k in theirs.state_dict() if 'conv_cls' not in k} == {k for k in net.state_dict() if 'gfl_cls' not in k} \
        or set(theirs.state_dict()) == set(net.state_dict())


def test_tuples_survive_release(tmp_path):
    """CGNet insists on tuples, which JSON does not have."""
    pytest.importorskip('mmseg')
    net = build_network(dict(type='MMSegModel', config='mmseg::_base_/models/cgnet.py', num_classes=4))
    loaded = load_released(save_released(net, tmp_path / 'net.safetensors'))
    assert loaded.decode_head.num_classes == 4 and isinstance(loaded.backbone.num_blocks, tuple)


def test_num_classes():
    pytest.importorskip('mmseg')
    model = read_model_config('mmseg::_base_/models/stdc.py', 'mmseg')
    set_num_classes(model, 11)
    assert model['decode_head']['num_classes'] == 11
    assert [head['num_classes'] for head in model['auxiliary_head']] == [11, 11, 2]  # the last one finds edges
    pytest.importorskip('mmdet')
    model = read_model_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', 'mmdet')
    set_num_classes(model, 3)
    assert model['panoptic_head']['loss_cls']['class_weight'] == [1.0] * 3 + [0.1]
    model = read_model_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'mmdet')
    set_num_classes(model, 3)
    assert [head['num_classes'] for head in model['roi_head']['bbox_head']] == [3, 3, 3]


def test_without_pretrained():
    model = dict(pretrained='x://y', backbone=dict(frozen_stages=1, norm_eval=True,
                                                   init_cfg=dict(type='Pretrained', checkpoint='z')),
                 head=dict(init_cfg=dict(type='Normal')))
    without_pretrained(model)
    assert model == dict(pretrained=None, backbone=dict(frozen_stages=-1, norm_eval=False),
                         head=dict(init_cfg=dict(type='Normal')))


def test_checkpoints_of_mmengine_load_safely(tmp_path):
    """Besides tensors they hold numpy numbers, arrays and histories of losses."""
    net = torch.nn.Linear(2, 3)
    other = torch.nn.Linear(2, 3)
    history = HistoryBuffer(np.arange(3.0), np.ones(3))
    torch.save(dict(meta=dict(epoch=1, best=np.float64(0.4), palette=np.zeros((2, 3), np.uint8), classes=('a', 'b')),
                    state_dict=other.state_dict(), message_hub=dict(log_scalars={'train/loss': history}, runtime_info={}),
                    optimizer={}), tmp_path / 'epoch_1.pth')
    load_checkpoint(net, tmp_path / 'epoch_1.pth')
    assert torch.equal(net.weight, other.weight)


class Attribute:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_other_attributes_are_refused(tmp_path):
    torch.save(dict(state_dict=torch.nn.Linear(1, 1).state_dict(), meta=Attribute()), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'builtins.getattr.*can run code'):
        load_checkpoint(torch.nn.Linear(1, 1), tmp_path / 'bad.pth')


def test_timm_backbone(tmp_path):
    images = torch.randn(2, 3, 64, 64)
    whole = timm.create_model('mobilenetv2_050', pretrained=False)
    torch.save(whole.state_dict(), tmp_path / 'weights.pth')
    net = TimmBackbone('mobilenetv2_050', out_indices=(1, 2, 3, 4), checkpoint=str(tmp_path / 'weights.pth')).eval()
    with torch.no_grad():
        maps, expected = net(images), whole.eval().forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
    assert [m.shape[1] for m in maps] == net.channels and net.strides == [4, 8, 16, 32]
    for ours, theirs in zip(maps, expected):
        torch.testing.assert_close(ours, theirs)
    assert [m.shape[2] for m in TimmBackbone('mobilenetv2_050', output_stride=8)(images)] == [16, 8, 8, 8]


@pytest.mark.parametrize(('options', 'message'), [
    (dict(model_name='mobilenetv2_055'), 'timm has no'),
    (dict(model_name='mobilenetv2_050', out_indices=(9,)), 'timm cannot build')])
def test_timm_backbone_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**options)


def test_timm_backbone_refuses_other_weights(tmp_path):
    torch.save(timm.create_model('resnet10t').state_dict(), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='does not fit mobilenetv2_050'):
        TimmBackbone('mobilenetv2_050', checkpoint=str(tmp_path / 'other.pth'))


def test_segmentor_on_timm(tmp_path):
    pytest.importorskip('mmseg')
    cfg = dict(type='MMSegModel', config='mmseg::_base_/models/pspnet_r50-d8.py', num_classes=5, model=dict(
        backbone=dict(type='zoo.TimmBackbone', model_name='mobilenetv2_050', output_stride=8),
        decode_head=dict(in_channels=160, channels=16), auxiliary_head=dict(in_channels=48, channels=8)))
    net = build_network(cfg).eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5, 8, 8)
    loaded = load_released(save_released(net, tmp_path / 'net.safetensors'))
    assert torch.equal(loaded(torch.ones(1, 3, 64, 64)), net(torch.ones(1, 3, 64, 64)))
    wrong = dict(cfg, model=dict(cfg['model'], decode_head=dict(in_channels=161)))
    with pytest.raises(ValueError, match=r'reads entry -1 with 161 channels|reads entry 3 with 161 channels'):
        build_network(wrong)
