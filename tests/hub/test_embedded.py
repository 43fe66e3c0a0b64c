"""The checkpoints that come with the package are what their cards say."""
import hashlib

import pytest
import torch
import yaml

import zoo
from tests.conftest import ROOT
from zoo.data import Digits
from zoo.hub import WEIGHTS, names
from zoo.registry import UnknownNameError


def card(name: str) -> dict:
    return yaml.safe_load((ROOT / 'model_cards' / f'{name}.md').read_text().split('---\n')[1])


@pytest.mark.parametrize('name', names())
def test_card_describes_the_file(name):
    file = card(name)['files'][0]
    data = (WEIGHTS / file['name']).read_bytes()
    assert len(data) == file['bytes'] and hashlib.sha256(data).hexdigest() == file['sha256']
    assert sum(p.numel() for p in zoo.load(name).parameters()) == card(name)['parameters']


def test_digits_teacher_scores_what_its_card_says():
    net, data = zoo.load('resnet20_digits'), Digits(train=False, size=16)
    batch = data.__getitems__(range(len(data)))
    mean, std = (torch.tensor(net.preprocess[k]).view(1, 3, 1, 1) for k in ('mean', 'std'))
    with torch.no_grad():
        hits = net((batch['images'].float() / 255 - mean) / std).argmax(1) == batch['labels']
    measured = card('resnet20_digits')['model-index'][0]['results'][0]['metrics'][0]['value']
    assert round(100 * hits.float().mean().item(), 2) == measured


def test_random_weights_and_unknown_names():
    fresh, trained = zoo.load('resnet20_digits', pretrained=False), zoo.load('resnet20_digits')
    assert not torch.equal(fresh.fc.weight, trained.fc.weight)
    with pytest.raises(UnknownNameError, match='resnet20_digits'):
        zoo.load('resnet20-digit')
