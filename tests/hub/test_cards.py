"""Cards: what the schema asks for, what it says, and the index."""
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import zoo.hub
from tests.conftest import ROOT
from zoo.hub import CardError, cards
from zoo.hub.cards import is_plain_name, parse, problems, render
from zoo.registry import UnknownNameError
from zoo.tables.records import higher_is_better

from .conftest import facts


def test_a_card_that_is_right():
    front = facts('net', b'abc')
    assert problems(front, 'net') == []
    found, prose = parse(render(front, '# Net\n\ntext'), 'net')
    assert prose == '# Net\n\ntext\n' and found['zoo']['iterations'] is None  # optional fields are there
    assert found['zoo']['teachers'][0] == dict(name='resnet20', checkpoint=None, score=None, sha256=None, parameters=None)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(license=None), 'license is missing'),
    (dict(pipeline_tag='classification'), 'pipeline_tag must be one of image-classification'),
    (dict(tags=[]), 'tags must be a list of texts, at least one'),
    (dict(zoo='x'), 'zoo must be a mapping'),
    (dict(zoo__config=None), 'zoo.config is missing'),
    (dict(zoo__epoch=3), 'zoo.epoch is not in the schema: did you mean epochs'),
    (dict(zoo__method=7), 'zoo.method must be a slug'),
    (dict(zoo__seeds=[]), 'zoo.seeds must be a list of whole numbers'),
    (dict(zoo__parameters=True), 'zoo.parameters must be a whole number'),
    (dict(zoo__last=dict(top5=1.0)), 'zoo.last lacks the monitored metric top1'),
    (dict(zoo__training__hardware=None), 'zoo.training.hardware is missing'),
    (dict(zoo__teachers=[dict(score=1.0)]), 'zoo.teachers 1.name is missing'),
    (dict(zoo__teachers=[dict(name='t', sha256='1')]), 'zoo.teachers 1.sha256 must be a sha256'),
    (dict(zoo__alone=dict(runs=[])), 'zoo.alone.mean is missing'),
    (dict(zoo__files=[]), 'zoo.files must name at least one file'),
    (dict(zoo__files__0__sha256='AB'), 'zoo.files 1.sha256 must be a sha256 of 64'),
    (dict(zoo__files__0__name='../net.safetensors'), 'zoo.files 1.name must be a plain file name'),
    (dict(zoo__files__0__urls=['file:///etc/passwd']), 'zoo.files 1.urls must be a list of addresses'),
    (dict(zoo__files__0__beside=None), 'has no source'),
    (dict(zoo__files__0__embedded='/etc'), 'embedded must be zoo/hub/weights'),
    (dict(zoo__limits=[]), 'zoo.limits must be a list of texts, at least one'),
    ({'model-index': []}, 'model-index must be a list of one mapping with name: net'),
    ({'model-index__0__results': []}, 'model-index.results must be a list, not empty'),
    ({'model-index__0__results__0__dataset': {}}, 'dataset.type is missing'),
    ({'model-index__0__results__0__metrics__0__value': float('nan')}, 'a metric needs type'),
])
def test_what_is_wrong_is_said_with_card_and_field(changes, message):
    found = problems(facts('net', b'abc', **changes), 'net')
    assert any(message in problem for problem in found), found
    with pytest.raises(CardError, match='Card net: '):
        parse('---\n' + yaml.safe_dump(facts('net', b'abc', **changes)) + '---\n', 'net')


@pytest.mark.parametrize('text', ['', 'no front matter', '---\n- a\n---\n', '---\na: [\n---\n', '---\na: 1\n'])
def test_no_front_matter(text):
    with pytest.raises(CardError, match='Card net: .*(front matter|YAML)'):
        parse(text, 'net')


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(['zoo', 'files', 'name', 'model-index', 'results', 'tags', 'teachers', 'data', 'x']),
                        inner, max_size=5), max_leaves=12))
def test_any_yaml_gets_sentences_and_no_crash(value):
    found = problems(value, 'net')
    assert found and all(isinstance(problem, str) for problem in found)


@given(st.text(max_size=12))
def test_plain_names_stay_in_their_folder(name):
    if is_plain_name(name):
        assert (ROOT / name).parent == ROOT and not name.startswith('.') and name not in ('', '..')


def test_better_is_which_way():
    assert all(map(higher_is_better, ('top1', 'coco/bbox_mAP', 'mIoU', 'explained_variance', 'agreement', 'fidelity')))
    assert not any(map(higher_is_better, ('fid', 'fid_mnist_resnet8', 'FID-digits', 'nll', 'reconstruction_loss', 'ece')))


def test_index_and_filters(hub):
    hub('kd_net', b'abc')
    hub('dkd_net', b'abcd', zoo__method=['dkd', 'at'], zoo__parameters=9_000_000, zoo__data__name='CIFAR-10-JPEG')
    hub.folder.joinpath('broken.md').write_text('---\nlicense: mit\n---\n')
    hub.folder.joinpath('README.md').write_text('no card')
    found, errors = zoo.hub.index()
    assert {'kd_net', 'dkd_net', 'resnet20_digits'} <= set(found) and 'broken' not in found
    assert len(errors) == 1 and 'Card broken: library_name is missing' in str(errors[0])
    with pytest.raises(CardError):
        zoo.hub.index(strict=True)
    chosen = zoo.hub.select({k: found[k] for k in ('kd_net', 'dkd_net')}, dataset='cifar10')
    assert list(chosen) == ['dkd_net'] and chosen['dkd_net'].methods == ['dkd', 'at']
    assert list(zoo.hub.select({k: found[k] for k in ('kd_net', 'dkd_net')}, method='kd')) == ['kd_net']
    assert 'dkd_net' not in zoo.hub.select(found, max_parameters=1e6)
    row = found['kd_net'].row()
    assert row['score'] == row['last'] == 91.25 and row['teacher'] == 'resnet20' and row['embedded'] is False
    with pytest.raises(UnknownNameError, match='Did you mean kd_net'):
        zoo.hub.card('kdnet')
    with pytest.raises(UnknownNameError):
        zoo.hub.card('../kd_net')
    hub('kd_net', b'abc', zoo__epochs=7)  # a changed card is read anew
    assert zoo.hub.card('kd_net').zoo['epochs'] == 7


@pytest.mark.parametrize('name', [path.stem for path in sorted(ROOT.glob('model_cards/*.md'))
                                  if path.name not in cards.NOT_CARDS])
def test_our_cards_hold_to_the_schema_and_to_hugging_faces(name):
    huggingface_hub = pytest.importorskip('huggingface_hub')
    card = cards.read_card(ROOT / 'model_cards' / f'{name}.md')
    theirs = huggingface_hub.ModelCard(card.path.read_text()).data
    result = theirs.eval_results[0]
    assert (theirs.model_name, result.metric_value, result.task_type) == (name, card.score, card.task)
    logged, scores = card.zoo['last'][card.monitor], card.zoo.get('file_scores') or {}
    assert abs(scores.get('float32', card.score) - logged) <= 1e-3 * abs(logged)
    assert abs(card.score - logged) <= 5e-3 * abs(logged)  # float16 may be better, too
    assert card.zoo['config'] is None or (ROOT / card.zoo['config']).is_file()


@pytest.mark.slow
def test_cards_come_with_an_installed_package(tmp_path):
    """A wheel, unpacked elsewhere, knows its checkpoints."""
    pytest.importorskip('setuptools')
    source = tmp_path / 'source'
    source.mkdir()
    for part in ('setup.py', 'setup.cfg', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model_cards', 'zoo'):
        (source / part).symlink_to(ROOT / part)
    run = subprocess.run([sys.executable, '-c', 'from setuptools import build_meta as b; b.build_wheel("../wheel")'],
                         cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    wheel, = (tmp_path / 'wheel').glob('*.whl')
    code = ('import zoo; from zoo.hub import cards; assert "wheel.whl" not in zoo.__file__; print(cards.own_folder()); '
            'print(*cards.names()); zoo.load("resnet20_digits")')
    unpacked = tmp_path / 'unpacked'
    subprocess.run([sys.executable, '-m', 'zipfile', '-e', str(wheel), str(unpacked)], check=True)
    run = subprocess.run([sys.executable, '-c', code], cwd=unpacked, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    folder, found = run.stdout.splitlines()
    assert folder == str(unpacked / 'zoo' / 'hub' / 'cards')
    assert found.split() == sorted(p.stem for p in (ROOT / 'model_cards').glob('*.md') if p.name not in cards.NOT_CARDS)
