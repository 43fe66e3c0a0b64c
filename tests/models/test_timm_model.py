"""timm networks keep timm's keys and give named taps."""
import copy
import pickle

import pytest
import timm
import torch

from zoo.models import TimmModel, build_network, load_checkpoint
from zoo.registry import UnknownNameError


@pytest.mark.parametrize('name', ['test_resnet', 'test_convnext', 'test_efficientnet', 'test_mambaout', 'test_vit',
                                  'test_vit2', 'mixer_s32_224', 'deit_tiny_distilled_patch16_224',
                                  'swin_tiny_patch4_window7_224'])
def test_taps(name):
    torch.manual_seed(0)
    small = {'deit_tiny_distilled_patch16_224': {'depth': 5, 'embed_dim': 24, 'num_heads': 2, 'img_size': 64},
             'swin_tiny_patch4_window7_224': {'depths': (1, 1, 1, 1), 'embed_dim': 12, 'num_heads': (1, 1, 2, 2),
                                              'img_size': 112}}.get(name, {})
    net = TimmModel(name, num_classes=6, **small).eval()
    size = small.get('img_size', net.input_size[1] if 'vit' in name or 'mixer' in name else 64)
    x = torch.randn(2, 3, size, size)
    taps = net.forward_taps(x)
    torch.testing.assert_close(taps['logits'], net(x))
    torch.testing.assert_close(taps['pooled'], net.forward_head(net.forward_features(x), pre_logits=True))
    if name != 'deit_tiny_distilled_patch16_224':  # there the logits are the mean of two classifiers
        torch.testing.assert_close(net.get_submodule(net.classifier_name)(taps['pooled']), taps['logits'])
    flat = 'vit' in name or 'mixer' in name or 'deit' in name
    features = net.forward_features(x)
    if flat:
        assert 'final_map' not in taps
        torch.testing.assert_close(taps['tokens'], features)
        side = {'mixer_s32_224': 7, 'deit_tiny_distilled_patch16_224': 4}.get(name, 10)
        assert taps['tokens'].shape[1] == side ** 2 + net.num_prefix_tokens
        assert [f.shape[2:] for f in taps['feats']] == [(side, side)] * 4
        assert net.stem_feats == 0
    else:
        assert 'tokens' not in taps
        assert taps['final_map'].shape[1] == net.num_features
        if features.shape[1] != net.num_features:
            features = features.permute(0, 3, 1, 2)
        torch.testing.assert_close(taps['final_map'], features)
        sizes = [f.shape[2] for f in taps['feats']]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[net.stem_feats:] == [-(-size // stride) for stride in (4, 8, 16, 32)]
        assert net.num_prefix_tokens == 0
    for names in (('logits',), ('feats', 'logits'), ('pooled',)):
        torch.testing.assert_close(net.forward_taps(x, names), {n: taps[n] for n in names})


def test_vit_feats_are_four_evenly_spaced_blocks():
    net = TimmModel('vit_tiny_patch16_224', img_size=32, depth=8, embed_dim=24, num_heads=2).eval()
    assert net.feat_indices == [1, 3, 5, 7]
    seen = {}
    for index, block in enumerate(net.blocks):
        block.register_forward_hook(lambda m, a, out, index=index: seen.__setitem__(index, out))
    feats = net.forward_taps(torch.randn(1, 3, 32, 32), ('feats',))['feats']
    for feat, index in zip(feats, (1, 3, 5, 7)):
        torch.testing.assert_close(feat.flatten(2).transpose(1, 2), seen[index][:, net.num_prefix_tokens:])


def test_pooled_and_logits_share_the_dropout_mask():
    net = TimmModel('test_vit', drop_rate=0.5, num_classes=4).train()
    taps = net.forward_taps(torch.randn(2, 3, 160, 160), ('pooled', 'logits'))
    torch.testing.assert_close(net.head(taps['pooled']), taps['logits'])


def test_it_is_timms_module_with_timms_keys(tmp_path):
    official = timm.create_model('test_resnet', num_classes=5)
    torch.save(official.state_dict(), tmp_path / 'timm.pth')
    net = TimmModel('test_resnet', num_classes=5)
    assert isinstance(net, type(official))
    assert list(net.state_dict()) == list(official.state_dict())
    load_checkpoint(net, tmp_path / 'timm.pth')
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(net.eval()(x), official.eval()(x))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(twin.forward_taps(x)['logits'], official(x))
        assert twin.conv1 is not net.conv1
        assert twin.classifier_name == 'fc'
    assert not hasattr(official, 'forward_taps')


def test_what_the_weights_expect():
    net = TimmModel('test_vit')
    cfg = timm.get_pretrained_cfg('test_vit')
    assert (net.mean, net.std, net.input_size) == (cfg.mean, cfg.std, cfg.input_size)
    assert net.classifier_name == 'head'
    assert TimmModel('test_convnext').classifier_name == 'head.fc'
    assert TimmModel('test_convnext', num_classes=0).classifier_name is None


def test_build_network():
    net = build_network({'type': 'TimmModel', 'model_name': 'test_resnet', 'in_chans': 1}, num_classes=3)
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 3)
    assert net.build_config == {'type': 'TimmModel', 'model_name': 'test_resnet', 'in_chans': 1, 'num_classes': 3}


def test_errors():
    with pytest.raises(UnknownNameError, match='convnext_tiny'):
        TimmModel('convnext_tinny')
    net = TimmModel('test_resnet')
    with pytest.raises(UnknownNameError, match='pooled'):
        net.forward_taps(torch.zeros(1, 3, 32, 32), ('poled',))
    with pytest.raises(UnknownNameError, match='final_map'):
        net.forward_taps(torch.zeros(2, 3, 32, 32), ('tokens',))
