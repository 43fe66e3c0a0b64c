"""torchvision networks keep torchvision's keys and give named taps."""
import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision

from zoo.models import TorchvisionModel, build_network
from zoo.registry import UnknownNameError


@pytest.mark.parametrize(('name', 'block', 'widths'), [
    ('resnet18', 'bn2', [64, 64, 128, 256, 512]), ('resnet50', 'bn3', [64, 256, 512, 1024, 2048])])
def test_resnet_taps(name, block, widths):
    """The five taps of the benchmark's ImageNet ResNets: stem before max-pooling, then the four stages."""
    torch.manual_seed(0)
    net = TorchvisionModel(name, num_classes=6)
    official = torchvision.models.get_model(name, num_classes=6)
    official.load_state_dict(net.state_dict())
    net.eval(), official.eval()
    x = torch.randn(1, 3, 64, 64)
    taps = net.forward_taps(x)
    assert list(taps) == ['logits', 'pooled', 'final_map', 'feats', 'preact_feats']
    torch.testing.assert_close(taps['logits'], official(x))
    assert [tuple(f.shape[1:]) for f in taps['feats']] == [(w, s, s) for w, s in zip(widths, (32, 16, 8, 4, 2))]
    assert net.stem_feats == 1
    torch.testing.assert_close(net.fc(taps['pooled']), taps['logits'])
    torch.testing.assert_close(taps['final_map'].mean((2, 3)), taps['pooled'])
    stem = F.relu(official.bn1(official.conv1(x)))
    torch.testing.assert_close(taps['feats'][0], stem)
    stage = official.layer1(official.maxpool(stem))
    torch.testing.assert_close(taps['feats'][1], stage)
    for feat, preact in zip(taps['feats'][1:], taps['preact_feats'][1:]):
        assert preact.min() < 0
        torch.testing.assert_close(F.relu(preact), feat)
    assert net.margin_norms[0] == f'layer1.{len(net.layer1) - 1}.{block}'
    assert [net.get_submodule(p).num_features for p in net.margin_norms] == widths[1:]
    torch.testing.assert_close(net.forward_taps(x, ('preact_feats',))['preact_feats'], taps['preact_feats'])


def test_swin_feats_are_channels_first():
    net = TorchvisionModel('swin_t').eval()
    with torch.no_grad():
        feats = net.forward_taps(torch.randn(1, 3, 64, 64), ('feats',))['feats']
    assert [tuple(f.shape[1:]) for f in feats] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]


def test_vit_gives_tokens():
    net = TorchvisionModel('vit_b_16', num_classes=4, image_size=32).eval()
    with torch.no_grad():
        taps = net.forward_taps(torch.randn(1, 3, 32, 32))
    assert 'final_map' not in taps
    assert taps['tokens'].shape == (1, 5, 768)
    torch.testing.assert_close(taps['tokens'][:, 0], taps['pooled'])
    assert (net.num_prefix_tokens, net.classifier_name) == (1, 'heads.head')


def test_the_first_pass_changes_no_statistics_and_training_is_unaffected():
    net = TorchvisionModel('mobilenet_v3_small', num_classes=3).train()
    twin = copy.deepcopy(net)
    x = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    taps = net.forward_taps(x)
    torch.manual_seed(0)
    torch.testing.assert_close(taps['logits'], twin(x))
    torch.testing.assert_close(dict(net.state_dict()), dict(twin.state_dict()))
    assert all(m.training for m in net.modules())
    taps['feats'][1].sum().backward()
    assert net.features[0][0].weight.grad is not None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_what_the_weights_expect_and_errors():
    net = build_network({'type': 'TorchvisionModel', 'model_name': 'squeezenet1_1'}, num_classes=4)
    assert net.input_size == (3, 224, 224)
    assert net.mean == (0.485, 0.456, 0.406)
    assert net.classifier_name is None
    with pytest.raises(UnknownNameError, match='pooled|logits'):
        net.forward_taps(torch.zeros(1, 3, 64, 64), ('pooled',))
    with pytest.raises(UnknownNameError, match='resnet50'):
        TorchvisionModel('resnet_50')
    with pytest.raises(UnknownNameError, match='IMAGENET1K_V1'):
        TorchvisionModel('resnet18', weights='IMAGENET_V1')


def test_a_new_classifier_where_the_weights_have_other_classes(monkeypatch):
    """Without network: torchvision's download is replaced by the state of a random network."""
    source = torchvision.models.resnet18()
    chosen = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(type(chosen), 'get_state_dict', lambda self, *args, **kwargs: source.state_dict())
    net = TorchvisionModel('resnet18', weights='DEFAULT', num_classes=5)
    assert net.fc.out_features == 5
    torch.testing.assert_close(net.layer4[1].conv2.weight.data, source.layer4[1].conv2.weight.data)
    assert TorchvisionModel('resnet18', weights='DEFAULT').fc.out_features == 1000
