"""The checkpoints that come with the package are what their cards say."""
import pytest
import torch

import zoo
from zoo.data import Digits
from zoo.hub import WEIGHTS, card, index
from zoo.hub.download import sha256_of
from zoo.hub.publish import EMBED_LIMIT, EMBED_TOTAL
from zoo.registry import UnknownNameError

EMBEDDED = sorted(path.stem for path in WEIGHTS.glob('*.safetensors'))
EXTRA = {'MMDetModel': 'mmdet', 'MMSegModel': 'mmseg', 'LabelAssistedSegmentor': 'mmseg'}


def test_files_and_their_sizes():
    sizes = {path.name: path.stat().st_size for path in WEIGHTS.glob('*')}
    assert all(name.endswith('.safetensors') for name in sizes)
    assert max(sizes.values()) <= EMBED_LIMIT and sum(sizes.values()) < EMBED_TOTAL
    embedded = {found.files[0]['name'] for found in index()[0].values() if 'embedded' in found.files[0]}
    assert embedded == set(sizes)  # each has a card, and each such card its file


@pytest.mark.parametrize('name', EMBEDDED)
def test_card_describes_the_file(name):
    found = card(name)
    path = WEIGHTS / found.files[0]['name']
    assert path.stat().st_size == found.files[0]['bytes'] and sha256_of(path) == found.files[0]['sha256']


@pytest.mark.parametrize('name', EMBEDDED)
def test_every_one_loads(name):
    found = card(name)
    if found.zoo['build']['type'] in EXTRA:
        pytest.importorskip(EXTRA[found.zoo['build']['type']])
    net = zoo.load(name)
    assert sum(p.numel() for p in net.parameters()) == found.parameters and not net.training
    assert all(p.isfinite().all() for p in net.parameters())


def test_digits_teacher_scores_what_its_card_says():
    net, data = zoo.load('resnet20_digits'), Digits(train=False, size=16)
    batch = data.__getitems__(range(len(data)))
    mean, std = (torch.tensor(net.preprocess[k]).view(1, 3, 1, 1) for k in ('mean', 'std'))
    with torch.no_grad():
        hits = net((batch['images'].float() / 255 - mean) / std).argmax(1) == batch['labels']
    assert round(100 * hits.float().mean().item(), 4) == card('resnet20_digits').score


def test_random_weights_and_unknown_names():
    fresh, trained = zoo.load('resnet20_digits', pretrained=False), zoo.load('resnet20_digits')
    assert not torch.equal(fresh.fc.weight, trained.fc.weight) and fresh.preprocess == trained.preprocess
    with pytest.raises(UnknownNameError, match='resnet20_digits'):
        zoo.load('resnet20-digit')
