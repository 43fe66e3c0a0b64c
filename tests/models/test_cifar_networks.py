"""The CIFAR networks against the measured facts of the benchmark's official ones."""
import copy
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo.models
from zoo.models import (
    AuxHead,
    CifarResNet,
    CifarVGG,
    CifarWRN,
    FourStageResNet,
    ImageNetMobileNetV1,
    MobileNetV2,
    ShuffleV1,
    ShuffleV2,
)
from zoo.models.network import channel_shuffle
from zoo.registry import UnknownNameError

GOLDENS = Path(__file__).resolve().parent.parent / 'goldens'
STATE_KEYS = json.loads((GOLDENS / 'cifar_state_keys.json').read_text())

# name: trainable parameters, state-dict entries, pooled width, of the networks that the file of keys leaves out
OTHER_NETWORKS = {
    'resnet8': (83_892, 56, 64), 'resnet14': (181_108, 92, 64), 'resnet44': (667_188, 272, 64),
    'vgg11': (9_277_284, 58, 512), 'vgg16': (14_774_436, 93, 512), 'vgg19': (20_086_692, 114, 512),
    'ResNet34': (21_328_292, 218, 512), 'mobilenet_v1': (4_231_976, 164, 1024),
}

TINY = {
    'resnet': lambda: CifarResNet(8, (4, 4, 8, 12), 5),
    'resnet_a': lambda: CifarResNet(14, (4, 6, 9, 12), 5, shortcut='A'),
    'wrn': lambda: CifarWRN(10, 1, 5),
    'wrn_wide': lambda: CifarWRN(16, 2, 5),
    'vgg': lambda: CifarVGG((1, 2, 1, 1, 2), (4, 6, 8, 10, 12), 5),
    'mobilenetv2': lambda: MobileNetV2(5, expansion=2),
    'shufflev1': lambda: ShuffleV1(5, widths=(12, 24, 48, 96), units=(2, 2, 2)),
    'shufflev2': lambda: ShuffleV2(5, widths=(8, 12, 16, 20, 24), units=(2, 2, 2)),
    'resnet_basic': lambda: FourStageResNet((1, 2, 1, 1), False, (4, 6, 8, 10), 5),
    'resnet_bottleneck': lambda: FourStageResNet((1, 1, 2, 1), True, (4, 6, 8, 10), 5),
    'mobilenetv1': lambda: ImageNetMobileNetV1(5, width_multiplier=0.25),
}


def fill(net):
    """Weights by the rule that the golden cases were made with."""
    state = {}
    for key, value in net.state_dict().items():
        noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(value.shape))
        if key.endswith('num_batches_tracked'):
            noise = np.zeros(())
        elif key.endswith('running_var'):
            noise = 1 + 0.1 * np.abs(noise)
        elif key.endswith(('running_mean', 'bias')):
            noise = 0.1 * noise
        elif value.ndim == 1:
            noise = 1 + 0.1 * noise
        else:
            noise = noise * np.sqrt(1 / np.prod(value.shape[1:]))
        state[key] = torch.from_numpy(np.array(noise)).to(value.dtype)
    net.load_state_dict(state)


@pytest.mark.parametrize('path', sorted(GOLDENS.glob('cifar_arch__*.npz')), ids=lambda p: p.stem.split('__')[1])
def test_golden(path):
    case = np.load(path)
    meta = json.loads(str(case['meta']))
    net = getattr(zoo.models, meta['module'])(**meta['init']).double().eval()
    fill(net)
    with torch.no_grad():
        taps = net.forward_taps(torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 32, 32))))
    seen = 0
    for key in case.files:
        if not key.startswith('out.'):
            continue
        name, _, index = key[4:].partition('.')
        lists = {'feat_mean': 'feats', 'preact_mean': 'preact_feats'}
        value = taps[lists[name]][int(index)].mean((2, 3)) if name in lists else taps[name]
        np.testing.assert_allclose(value.numpy(), case[key], rtol=1e-6, atol=1e-8, err_msg=key)
        seen += 1
    assert seen == 2 + len(taps['feats']) + len(taps.get('preact_feats', ()))


@pytest.mark.parametrize('name', STATE_KEYS)
def test_state_keys_shapes_and_order(name):
    with torch.device('meta'):
        net = getattr(zoo.models, name)()
    assert [(k, list(v.shape)) for k, v in net.state_dict().items()] == list(STATE_KEYS[name]['state'].items())
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == STATE_KEYS[name]['params']


@pytest.mark.parametrize('name', OTHER_NETWORKS)
def test_parameter_counts(name):
    with torch.device('meta'):
        net = getattr(zoo.models, name)()
    params, entries, width = OTHER_NETWORKS[name]
    assert sum(p.numel() for p in net.parameters()) == params
    assert len(net.state_dict()) == entries
    assert net.get_submodule(net.classifier_name).in_features == width


def test_registered_under_their_names():
    from zoo.registry import MODELS
    for name in (*STATE_KEYS, *OTHER_NETWORKS, 'CifarResNet', 'CifarWRN', 'CifarVGG', 'AuxHead'):
        assert MODELS.module_dict[name] is getattr(zoo.models, name)


@pytest.mark.parametrize('name', TINY)
def test_taps_agree_with_each_other(name):
    torch.manual_seed(0)
    net = TINY[name]().eval()
    x = torch.randn(2, 3, 64, 64) if name == 'mobilenetv1' else torch.randn(2, 3, 32, 32)
    taps = net.forward_taps(x)
    assert list(taps) == list(net.tap_names)
    torch.testing.assert_close(net(x), taps['logits'])
    torch.testing.assert_close(net.get_submodule(net.classifier_name)(taps['pooled']), taps['logits'])
    torch.testing.assert_close(taps['final_map'].mean((2, 3)), taps['pooled'])
    assert all(f.ndim == 4 and len(f) == 2 for f in taps['feats'])
    for some in (('logits',), ('feats',), ('logits', 'pooled'), net.tap_names[::-1]):
        part = net.forward_taps(x, iter(some))
        assert list(part) == list(some)
        torch.testing.assert_close(part, {k: taps[k] for k in some})


@pytest.mark.parametrize('name', [n for n in TINY if n not in ('wrn', 'wrn_wide', 'mobilenetv2', 'shufflev2')])
def test_feats_are_relu_of_preactivations(name):
    net = TINY[name]().eval()
    taps = net.forward_taps(torch.randn(2, 3, 64, 64))
    assert len(taps['feats']) == len(taps['preact_feats'])
    for index, (feat, preact) in enumerate(zip(taps['feats'], taps['preact_feats'])):
        torch.testing.assert_close(feat, F.relu(preact))
        if index or name == 'mobilenetv1':
            assert preact.min() < 0  # not the activated map itself
    torch.testing.assert_close(taps['feats'][-1], taps['final_map'])
    assert (taps['feats'][0] is taps['preact_feats'][0]) == (name != 'mobilenetv1')


def test_shufflev2_preactivations_are_not_shuffled():
    taps = TINY['shufflev2']().eval().forward_taps(torch.randn(2, 3, 32, 32))
    for feat, preact in zip(taps['feats'][1:], taps['preact_feats'][1:]):
        passed, branch = preact.chunk(2, 1)
        torch.testing.assert_close(channel_shuffle(torch.cat([passed, F.relu(branch)], 1), 2), feat)
        assert branch.min() < 0


def test_wrn_feats_are_raw_and_preactivations_pass_the_next_norm():
    net = CifarWRN(10, 2, 5).eval()
    fill(net)
    taps = net.forward_taps(torch.randn(2, 3, 32, 32))
    norms = (net.block2.layer[0].bn1, net.block3.layer[0].bn1, net.bn1)
    for feat, preact, norm in zip(taps['feats'][1:], taps['preact_feats'][1:], norms):
        assert feat.min() < 0
        torch.testing.assert_close(norm(feat), preact)
    torch.testing.assert_close(F.relu(taps['preact_feats'][-1]), taps['final_map'])


@pytest.mark.parametrize(('twice', 'weight'), [(False, 0.1), (True, 0.19)])
@pytest.mark.parametrize('names', [None, ('logits',)])
def test_wrn_running_statistics(twice, weight, names):
    """One update a pass; the released code's two only where asked for, and then whether or not the tap is read."""
    torch.manual_seed(0)
    net = CifarWRN(10, 1, 5, update_preact_stats=twice).train()
    x = torch.randn(4, 3, 16, 16)
    feats = copy.deepcopy(net).forward_taps(x, ('feats',))['feats']
    net.forward_taps(x, names)
    for feat, norm in zip(feats[1:], (net.block2.layer[0].bn1, net.block3.layer[0].bn1, net.bn1)):
        torch.testing.assert_close(norm.running_mean, weight * feat.mean((0, 2, 3)))
        assert norm.num_batches_tracked == 1 + twice
    assert net.block1.layer[0].bn1.num_batches_tracked == 1
    net.eval()(x)
    assert net.bn1.num_batches_tracked == 1 + twice


def test_wrn_preactivation_gradient_reaches_the_norm():
    net = CifarWRN(10, 1, 5).train()
    net.forward_taps(torch.randn(4, 3, 16, 16), ('preact_feats',))['preact_feats'][1].square().sum().backward()
    assert net.block2.layer[0].bn1.weight.grad.abs().sum() > 0
    assert net.block3.layer[0].bn1.weight.grad is None


@pytest.mark.parametrize('name', TINY)
def test_logits_alone_cost_the_same_as_forward_and_taps_run_no_module_twice(name):
    net = TINY[name]().train()
    calls = []
    for path, module in net.named_modules():
        if path:
            module.register_forward_hook(lambda *_, path=path: calls.append(path))
    x = torch.randn(2, 3, 32, 32)
    net(x)
    forward, calls[:] = list(calls), []
    net.forward_taps(x, ('logits',))
    assert calls == forward
    calls.clear()
    net.forward_taps(x)
    assert calls == forward
    assert len(set(calls)) == len(calls)


@pytest.mark.parametrize('name', TINY)
def test_margin_norms_stand_before_the_last_relus(name):
    net = TINY[name]().eval()
    if name.startswith('shuffle'):
        assert net.margin_norms is None
        return
    taps = net.forward_taps(torch.randn(1, 3, 32, 32))
    maps = taps['feats' if name == 'mobilenetv2' else 'preact_feats'][net.stem_feats:]
    norms = [net.get_submodule(path) for path in net.margin_norms]
    assert all(isinstance(norm, nn.BatchNorm2d) for norm in norms)
    assert [norm.num_features for norm in norms] == [m.shape[1] for m in maps]


@pytest.mark.parametrize(('name', 'shapes'), [
    ('resnet8x4', [(32, 32), (64, 32), (128, 16), (256, 8)]),
    ('wrn_16_2', [(16, 32), (32, 32), (64, 16), (128, 8)]),
    ('vgg8', [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)]),
    ('MobileNetV2', [(16, 16), (12, 16), (16, 8), (48, 4), (160, 2)]),
    ('ShuffleV1', [(24, 32), (240, 16), (480, 8), (960, 4)]),
    ('ShuffleV2', [(24, 32), (116, 16), (232, 8), (464, 4)]),
    ('ResNet50', [(64, 32), (256, 32), (512, 16), (1024, 8), (2048, 4)]),
    ('mobilenet_v1', [(128, 8), (256, 4), (512, 2), (1024, 1)]),
])
def test_feature_shapes(name, shapes):
    with torch.device('meta'):
        taps = getattr(zoo.models, name)().eval().forward_taps(torch.empty(1, 3, 32, 32))
    assert [tuple(f.shape) for f in taps['feats']] == [(1, c, s, s) for c, s in shapes]
    assert [f.shape for f in taps.get('preact_feats', taps['feats'])] == [f.shape for f in taps['feats']]


def test_vgg_pools_after_block3_only_for_images_64_high():
    net = TINY['vgg']()
    sizes = {h: [f.shape[2] for f in net.forward_taps(torch.randn(1, 3, h, h), ('feats',))['feats']] for h in (32, 64)}
    assert sizes == {32: [32, 16, 8, 4, 4], 64: [64, 32, 16, 8, 4]}


def test_other_channels_classes_and_sizes():
    for name in ('resnet8', 'wrn_16_1', 'vgg8', 'MobileNetV2', 'ShuffleV1', 'ShuffleV2', 'ResNet18'):
        with torch.device('meta'):
            net = getattr(zoo.models, name)(num_classes=7, in_channels=1)
            assert net(torch.empty(2, 1, 48, 40)).shape == (2, 7)


def test_option_a_shortcut_pads_zeros_on_both_sides():
    net = CifarResNet(8, (4, 4, 8, 13), 5, shortcut='A')
    assert not any('downsample' in key for key in net.state_dict())
    x = torch.randn(2, 8, 6, 6)
    y = net.layer3[0].downsample(x)
    assert y.shape == (2, 13, 3, 3)
    torch.testing.assert_close(y[:, 2:10], x[:, :, ::2, ::2])
    assert y[:, :2].abs().sum() == 0
    assert y[:, 10:].abs().sum() == 0


def test_unknown_taps_and_bad_arguments():
    with pytest.raises(UnknownNameError, match='preact_feats'):
        TINY['resnet']().forward_taps(torch.zeros(1, 3, 8, 8), ('preactfeats',))
    with pytest.raises(UnknownNameError, match='MobileNetV2'):
        TINY['mobilenetv2']().forward_taps(torch.zeros(1, 3, 32, 32), ('preact_feats',))
    with pytest.raises(ValueError, match='6n \\+ 2'):
        CifarResNet(18)
    with pytest.raises(ValueError, match="'C'"):
        CifarResNet(8, shortcut='C')
    with pytest.raises(ValueError, match='6n \\+ 4'):
        CifarWRN(14)
    with pytest.raises(ValueError, match='five'):
        CifarVGG((1, 1))


def test_compiles_without_a_graph_break():
    net = TINY['resnet']().eval()
    compiled = torch.compile(net.forward_taps, backend='eager', fullgraph=True)
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(compiled(x), net.forward_taps(x))


def test_aux_head():
    head = AuxHead(6, 4, p=0.3)
    assert [type(layer) for layer in head.layers] == [nn.Linear, nn.Dropout, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert head.layers[1].p == 0.3
    assert head(torch.randn(3, 6)).shape == (3, 4)
