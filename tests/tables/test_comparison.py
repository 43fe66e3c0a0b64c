"""Our results beside the papers': a number of ours never stands in a paper's column, and a difference only where it is one."""
import copy
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.tables import COLUMNS, card_row, compare, measured_table_rows, paper_rows
from zoo.tables.comparison import (
    EVALUATED,
    FROM_CARD,
    SWEEP,
    add_networks,
    comparison_csv,
    comparison_json,
    comparison_markdown,
    select,
)
from zoo.tables.records import higher_is_better

KEY = {'task': 'classification', 'dataset': 'CIFAR-100', 'metric': 'top1', 'method': 'dkd', 'teacher': 'wrn_40_2',
       'student': 'wrn_16_2'}
PAPER_COLUMNS = ('paper_score', 'paper_teacher_score', 'paper_alone', 'paper_epochs')
OUR_COLUMNS = ('our_score', 'our_std', 'our_last', 'our_best', 'our_teacher_score', 'our_alone', 'our_gain', 'our_epochs')
MACHINE = dict(hardware='CPU', threads=1, torch='2')


def paper(**change):
    return {**KEY, 'origin': 'paper', 'table': 'dkd', 'paper': None, 'score': 76.23, 'verified': True, 'epochs': 240,
            'teacher_score': 75.61, 'student_baseline': 73.26, 'source': 'README', **change}


def ours(**change):
    return {**KEY, 'origin': 'measured', 'how': SWEEP, 'score': 75.0, 'std': 0.2, 'runs': 3, 'seeds': [0, 1, 2],
            'teacher_score': 75.61, 'alone': 73.0, 'epochs': 240, 'source': 'a.json', **change}


def only(papers, mine):
    row, = (row for row in compare(papers, mine) if row['our_score'] is not None)
    return row


def test_same_data_and_pair_give_a_difference():
    row = only([paper()], [ours(teacher='WRN-40-2')])
    assert list(row) == list(COLUMNS)
    assert (row['paper_score'], row['our_score'], row['delta']) == (76.23, 75.0, pytest.approx(-1.23))
    assert (row['same_data'], row['same_teacher'], row['differs'], row['verified']) == (True, True, None, True)
    assert (row['our_gain'], row['our_seeds'], row['our_runs'], row['how']) == (2.0, '0 1 2', 3, SWEEP)


@pytest.mark.parametrize(('change', 'differs'), [
    ({'dataset': 'CIFAR-100-JPEG'}, 'data (CIFAR-100)'), ({'teacher': 'vgg13'}, 'teacher (wrn_40_2)'),
    ({'student': 'vgg8'}, 'student (wrn_16_2)'), ({'variant': 'DKD++'}, 'variant (plain)'),
    ({'dataset': 'digits', 'teacher': None, 'epochs': 4}, 'data (CIFAR-100), teacher (wrn_40_2), recipe (240 epochs)')])
def test_otherwise_none_and_it_is_said_what_differs(change, differs):
    row = only([paper()], [ours(**change)])
    assert row['delta'] is None and row['paper_score'] is None and row['verified'] is None and row['differs'] == differs


def test_another_recipe_or_other_weights_of_the_teacher_leave_the_difference_and_are_said():
    row = only([paper()], [ours(epochs=10, teacher_score=70.0)])
    assert row['delta'] is not None and row['same_data'] is True and row['same_teacher'] is False
    assert row['differs'] == "teacher's weights (75.61 in the paper, 70 here), recipe (240 epochs)"
    assert only([paper()], [ours(teacher_score=None)])['same_teacher'] is None


def test_a_fraction_is_not_taken_from_a_percentage():
    row = only([paper(metric='mAP', score=43.7)], [ours(metric='coco/bbox_mAP', score=0.41)])
    assert row['delta'] is None and row['differs'].endswith('unit (percent)')


def test_a_method_that_no_paper_has_and_the_student_alone():
    assert only([paper()], [ours(method='new')])['differs'] == "no paper's row of this method, task and metric"
    assert only([paper()], [ours(method='none', alone=None)])['differs'] is None


def test_a_text_is_no_number():
    row = only([paper(score='1 to 5')], [ours()])
    assert row['paper_score'] == '1 to 5' and row['delta'] is None


def test_lower_is_better_for_errors():
    row = only([paper(metric='fid', score=4.0)], [ours(metric='fid', score=5.0, alone=9.0)])
    assert row['better'] == 'lower' and row['delta'] == 1.0 and row['our_gain'] == 4.0
    assert not higher_is_better('FID-digits') and higher_is_better('coco/bbox_mAP')


def test_rows_in_the_wrong_list_are_refused():
    for lists in (([ours()], []), ([], [paper()])):
        with pytest.raises(ValueError, match='stands among'):
            compare(*lists)


names = st.sampled_from(['kd', 'DKD', 'none', 'new'])
data = st.sampled_from(['CIFAR-100', 'cifar100', 'digits'])
nets = st.sampled_from([None, 'vgg13', 'WRN-16-2', 'wrn_16_2'])
# papers' numbers are even, ours odd: whatever stands in the other's column is found
even, odd = st.integers(0, 400).map(lambda n: 2.0 * n), st.integers(0, 400).map(lambda n: 2.0 * n + 1)
paper_strategy = st.builds(
    paper, method=names, dataset=data, teacher=nets, student=nets, score=even | st.sampled_from(['2 to 4']), epochs=even,
    teacher_score=st.none() | even, student_baseline=st.none() | even, verified=st.booleans(), variant=st.none() | names)
our_strategy = st.builds(
    ours, method=names, dataset=data, teacher=nets, student=nets, score=odd, epochs=odd, std=odd, teacher_score=st.none() | odd,
    alone=st.none(), best_score=odd, last_score=odd, variant=st.none() | names,
    how=st.sampled_from([EVALUATED, FROM_CARD, SWEEP]))


@given(st.lists(paper_strategy, max_size=6), st.lists(our_strategy, max_size=6))
def test_no_number_ever_stands_in_the_others_column(papers, mine):
    rows = compare(papers, mine)
    table = list(csv.DictReader(io.StringIO(comparison_csv(rows)))) if rows else []
    for row in [*rows, *table, *json.loads(json.dumps(comparison_json(rows, MACHINE)))['rows']]:
        for columns, remainder in ((PAPER_COLUMNS, 0), (OUR_COLUMNS, 1)):
            for column in columns:
                if row[column] not in (None, '', '2 to 4'):
                    assert float(row[column]) % 2 == remainder, (column, row)
        assert (row['our_score'] in (None, '')) == (row['how'] in (None, ''))
        assert (row['paper_score'] in (None, '')) == (row['verified'] in (None, ''))
        if row['delta'] not in (None, ''):
            assert float(row['delta']) == float(row['our_score']) - float(row['paper_score'])
            assert row['same_data'] in (True, 'true')
    # nothing is lost: every paper's row and every one of ours
    assert {str(r['paper_score']) for r in rows} - {'None'} == {str(r['score']) for r in papers}
    assert sum(r['our_score'] is not None for r in rows) >= len(mine)


@given(st.lists(our_strategy, min_size=1, max_size=6), st.randoms())
def test_the_order_does_not_depend_on_the_input(mine, random):
    key = [json.dumps({**row, 'differs': None, 'same_data': None, 'same_teacher': None}) for row in compare([], mine)]
    random.shuffle(mine)
    shuffled = [json.dumps({**row, 'differs': None, 'same_data': None, 'same_teacher': None}) for row in compare([], mine)]
    assert sorted(key) == sorted(shuffled)
    assert [json.loads(k)['our_score'] for k in key] == [json.loads(k)['our_score'] for k in shuffled]


def test_files_have_the_documented_columns():
    rows = compare([paper(verified=False), paper(student='vgg8', variant='KD+<b>')], [ours()])
    assert comparison_csv(rows).splitlines()[0] == ','.join(COLUMNS)
    assert comparison_json(rows, MACHINE)['columns'] == COLUMNS and all(COLUMNS.values())
    text = comparison_markdown(rows, MACHINE, ['x was not evaluated.'])
    assert '| 76.23 † | 75.00 |' in text and '- x was not evaluated.' in text and 'KD+&lt;b>' in text
    assert '1 thread, torch 2' in text


def test_all_that_ships_is_laid_side_by_side():
    papers, mine = paper_rows(), measured_table_rows()
    rows = compare(papers, mine)
    assert sum(row['paper_score'] is not None for row in rows) >= len(papers) > 900
    assert sum(row['our_score'] is not None for row in rows) >= len(mine) > 10
    kd = next(row for row in rows if (row['method'], row['teacher']) == ('kd', 'resnet20 (shortcut=A)') and row['our_score'])
    assert kd['our_alone'] == pytest.approx(51.70, abs=0.01) and kd['delta'] is None and 'data' in kd['differs']
    assert {row['metric'] for row in mine} == {'top1', 'mIoU', 'coco/bbox_mAP'}
    assert len(measured_table_rows(all_metrics=True)) > 3 * len(mine)


def test_select():
    rows = [paper(), paper(dataset='ImageNet-1K', method='KD')]
    assert select(rows, dataset='cifar') == rows[:1] and select(rows, method='kd') == rows[1:]
    assert select(rows, task='detection') == [] and select(rows, dataset='imagenet') == rows[1:]


def test_networks_fill_only_what_is_not_known():
    rows = compare([paper(student='vgg8')], [ours(parameters=5)])
    add_networks(rows, {('CIFAR-100', 'vgg8'): dict(parameters=7, flops=8, latency_ms=None, input_shape=(3, 32, 32)),
                        ('CIFAR-100', 'wrn_16_2'): dict(parameters=9)})
    assert [(r['parameters'], r['flops'], r['latency_ms'], r['parameters_of']) for r in rows] == [
        (5, None, None, 'checkpoint'), (7, 8, None, "the zoo's network of this name")]


CARD = {
    'pipeline_tag': 'image-classification',
    'model-index': [{'name': 'a', 'results': [{'metrics': [{'type': 'accuracy', 'value': 80.5}]}]}],
    'zoo': {'config': 'configs/a.py', 'method': ['kd', 'at'], 'build': {'type': 'TimmModel', 'model_name': 'vit_tiny'},
            'parameters': 10, 'teachers': [{'name': 'b', 'checkpoint': 'zoo://b', 'score': 90.0}],
            'alone': {'mean': 79.0, 'difference': 1.25}, 'data': {'name': 'digits'}, 'seeds': [3, 4], 'epochs': 5,
            'monitor': 'top1', 'last': {'top1': 80.6}, 'best': {'top1': 81.0}, 'files': [{'bytes': 9, 'dtype': 'float16'}],
            'runs': [], 'verdict': 'Better.'}}


def test_a_card_as_a_row():
    row = card_row(CARD, 'a', {'b': {'zoo': {'build': {'type': 'resnet20'}}}})
    assert (row['origin'], row['how'], row['task'], row['method'], row['student'], row['teacher']) == (
        'measured', FROM_CARD, 'classification', 'kd+at', 'vit_tiny', 'resnet20')
    assert (row['score'], row['last_score'], row['best_score'], row['teacher_score']) == (80.5, 80.6, 81.0, 90.0)
    assert row['seeds'] == [3]
    laid, = compare([], [row])
    assert laid['our_gain'] == 1.25 and laid['our_alone'] == 79.0 and laid['paper_score'] is None
    assert card_row(CARD, 'a')['teacher'] == 'b'
    assert row['split'] == 'test' and laid['variant'] is None


def test_what_is_scored_on_validation_images_says_so():
    card = copy.deepcopy(CARD)
    card['model-index'][0]['results'][0]['dataset'] = dict(name='digits', split='validation')
    row = card_row(card, 'a')
    assert row['split'] == 'validation' and compare([], [row])[0]['variant'] == 'scored on the validation images'
