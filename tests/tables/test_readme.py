"""The README's results: from cards and measured tables alone, between markers, and told when they are old."""
import copy
import json

import pytest

from tests.tables.test_comparison import CARD
from zoo.tables.readme import BEGIN, END, results_section, stale, write_section

RUN = {'task': 'classification', 'dataset': 'CIFAR-100', 'metric': 'top1', 'teacher': 'resnet56', 'student': 'resnet20',
       'source': 'runs', 'n': 3, 'seeds': [0, 1, 2], 'epochs': 240, 'std': 0.25}
FACTS = {'monitor': 'top1', 'teacher_score': 72.34, 'recipe': 'SGD', 'student_parameters': 5}


@pytest.fixture()
def measured(tmp_path):
    results = [{**RUN, 'method': 'none', 'score': 69.0}, {**RUN, 'method': 'dkd', 'score': 71.5},
               {**RUN, 'method': 'made_up', 'score': 68.25, 'n': 2, 'failed': 1},
               {**RUN, 'method': 'dkd', 'metric': 'nll', 'score': 1.5}]
    folder = tmp_path / 'measured'
    folder.mkdir()
    (folder / 'pair.json').write_text(json.dumps({'facts': FACTS, 'results': results}))
    return folder


def test_cards_and_sweeps(measured):
    odd = copy.deepcopy(CARD)
    odd['zoo']['data']['name'] = 'a|<b>'
    text = results_section({'b': odd, 'a': CARD}, measured)
    lines = text.splitlines()
    assert ('| [a](model_cards/a.md) | digits | kd+at | vit_tiny → vit_tiny | top1 | 80.50 | 90.00 | 79.00 | +1.25 | 10 | '
            '0.00 MB |') in lines
    assert r'a\|&lt;b>' in text
    assert '**resnet56 → resnet20** on CIFAR-100: 240 epochs, seeds 0 1 2, teacher 72.34; SGD.' in lines
    # ours and the paper's in columns of their own; the student alone has no paper's number
    assert '| dkd | 71.50 ± 0.25 | +2.50 | 3 | 71.97 |' in lines
    assert '| *student alone* | 69.00 ± 0.25 |  | 3 |  |' in lines
    assert '| made_up | 68.25 ± 0.25 | -0.75 | 2, 1 failed |  |' in lines
    assert 'nll' not in text
    assert text == results_section({'a': CARD, 'b': odd}, measured)


def test_scores_on_validation_images_are_told_once(tmp_path):
    card = copy.deepcopy(CARD)
    card['model-index'][0]['results'][0]['dataset'] = dict(name='digits', split='validation')
    rows = [{'method': method, 'task': 'segmentation', 'dataset': 'CamVid', 'metric': 'mIoU', 'score': score, 'source': 'runs',
             'teacher': 'big', 'student': 'small', **more}
            for method, score, more in (('none', 38.5, {}), ('lad', 39.3, {'variant': 'teacher: its own'}))]
    (tmp_path / 'camvid.json').write_text(json.dumps(dict(
        facts=dict(monitor='mIoU', scored_on='validation', recipe='AdamW', teacher_score=48.29), results=rows)))
    text = results_section({'a': card}, tmp_path)
    assert 'on the test set (of digits on the validation set, as teacher and student alone), trained' in text
    assert 'teacher 48.29; AdamW; scored on the validation images.' in text
    assert '| lad (teacher: its own) | 39.30 | +0.80 | 1 |' in text and '| *student alone* | 38.50 |' in text


def test_a_file_that_says_less_is_shown_as_well(tmp_path):
    rows = [{'method': 'ld', 'task': 'detection', 'dataset': 'BCCD', 'metric': metric, 'score': score, 'source': 'runs',
             'teacher': 'GFL-R50', 'student': student}
            for student in ('GFL-R18', 'GFL-R9') for metric, score in (('coco/bbox_mAP', 0.4321), ('coco/bbox_mAP_50', 0.8))]
    (tmp_path / 'bccd.json').write_text(json.dumps(rows))
    text = results_section({}, tmp_path)
    assert text.count('| ld | 0.4321 |  | 1 |') == 2 and 'bbox_mAP_50' not in text
    assert '**GFL-R50 → GFL-R18** on BCCD.' in text and '**GFL-R50 → GFL-R9** on BCCD.' in text


def test_without_cards_and_sweeps_there_is_still_a_section(tmp_path):
    assert results_section({}, tmp_path).startswith('<!-- written by')


def test_written_between_the_markers_and_told_when_old(tmp_path):
    readme = tmp_path / 'README.md'
    assert 'There is no' in stale(readme, 'x')
    readme.write_text('no markers')
    with pytest.raises(ValueError, match='must hold the line'):
        write_section(readme, 'x')
    readme.write_text(f'before\n{BEGIN}\n{END}\nafter\n')
    assert 'not up to date, first at "new' in stale(readme, 'new')
    assert write_section(readme, 'new') is True and write_section(readme, 'new') is False
    assert readme.read_text() == f'before\n{BEGIN}\nnew\n{END}\nafter\n' and stale(readme, 'new') is None
    assert 'tools/benchmark.py --readme' in stale(readme, 'newer')
