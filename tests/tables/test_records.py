"""The result tables: all that ship hold to the schema; what does not is told clearly."""
import copy
import json

import pytest
import yaml

from zoo.registry import UnknownNameError
from zoo.tables import (
    TableError,
    load_paper_table,
    measured_rows,
    paper_rows,
    paper_table_names,
    validate_measured,
    validate_paper_table,
)

PAPER = {'title': 'T', 'venue': 'V', 'year': 2024, 'arxiv': '2401.00001', 'code': None, 'license': None}
RESULT = {'task': 'classification', 'dataset': 'CIFAR-100', 'metric': 'top1', 'score': 70.5, 'source': 'Table 1',
          'verified': True}
TABLE = {'method': 'new', 'paper': PAPER, 'results': [RESULT]}
MEASURED = {'method': 'dkd', 'task': 'classification', 'dataset': 'CIFAR-100', 'metric': 'top1', 'score': 71.0,
            'source': 'runs/1/record.json', 'teacher': 'resnet56', 'student': 'resnet20', 'epochs': 240}


def test_every_table_that_ships_is_valid():
    names = paper_table_names()
    assert len(names) >= 109
    for name in names:
        validate_paper_table(load_paper_table(name), name)
    measured_rows()


def test_a_fact_as_it_is_filed():
    row, = paper_rows('classification', 'CIFAR-100', 'dkd', 'resnet56', 'resnet20')
    assert row['score'] == 71.97 and row['verified'] is True and row['source'] == 'mdistiller README'
    assert row['method'] == row['table'] == 'dkd' and row['origin'] == 'paper' and row['paper']['arxiv'] == '2203.08679'


def test_every_row_knows_its_origin():
    rows = paper_rows()
    assert len(rows) > 900
    for row in rows:
        assert row['method'] and row['origin'] == 'paper' and row['source'] and isinstance(row['verified'], bool)
        assert row['table'].startswith('_') or row['paper']['title']


def test_names_match_without_case_and_hyphens_and_by_glob():
    same = [paper_rows(method='dkd', teacher=name) for name in ('wrn_40_2', 'WRN-40-2', 'wrn 40_2')]
    assert same[0] and same[0] == same[1] == same[2]
    assert {row['teacher'] for row in paper_rows(method='dkd', teacher='resnet?6')} == {'resnet56'}
    light = paper_rows(method='fitnets', student='ShuffleNetV1')
    assert light and paper_rows(method='FitNet', student='ShuffleV1') == light
    # a plus is part of the name
    assert not {'KD++'} & {row['method'] for row in paper_rows(method='kd')}
    assert paper_rows(method='no such method') == []


def test_a_collection_repeats_nothing():
    collected = [row for row in load_paper_table('_cifar100_baselines')['results'] if row['method'] == 'DKD']
    assert collected
    own = [row for row in paper_rows(method='dkd') if row['table'] == 'dkd']
    left = [row for row in paper_rows(method='dkd') if row['table'] == '_cifar100_baselines']
    facts = {(row['teacher'], row['student'], row['score']) for row in own}
    assert not facts & {(row['teacher'], row['student'], row['score']) for row in left}
    # what has no table of its own is kept
    assert len(paper_rows(method='CC')) == 13


def test_rows_and_tables_are_copies():
    load_paper_table('dkd')['results'].clear()
    paper_rows(method='dkd')[0]['paper']['title'] = 'changed'
    assert load_paper_table('dkd')['results'] and paper_rows(method='dkd')[0]['paper']['title'] != 'changed'


def test_unknown_table_names_the_nearest():
    with pytest.raises(UnknownNameError, match='dkd'):
        load_paper_table('dkdd')


def changed(path, value):
    table = copy.deepcopy(TABLE)
    node = table
    for step in path[:-1]:
        node = node[step]
    if value is KeyError:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return table


@pytest.mark.parametrize(('path', 'value', 'message'), [
    (('method',), 'other', "file's name"), (('paper',), None, 'paper'), (('paper', 'year'), '2024', 'int'),
    (('paper', 'code'), KeyError, "'code'"), (('results',), {}, 'list of rows'), (('results',), None, 'list of rows'),
    (('results', 0, 'score'), None, "result 1: 'score'"), (('results', 0, 'score'), True, "'score'"),
    (('results', 0, 'verified'), 'yes', 'true'), (('results', 0, 'verified'), KeyError, "'verified'"),
    (('results', 0, 'source'), '', "'source'"), (('results', 0, 'dataset'), KeyError, "'dataset'"),
    (('results', 0, 'teacher'), 56, "'teacher'"), (('results', 0, 'at least)'), None, 'quotes'),
    (('results', 0, 'origin'), 'paper', 'set by the reader'), (('results', 0), 'text', 'mapping'),
])
def test_a_broken_paper_table_is_told(path, value, message):
    validate_paper_table(TABLE, 'new')
    with pytest.raises(TableError, match=message) as caught:
        validate_paper_table(changed(path, value), 'new')
    assert 'new.yml' in str(caught.value)


def test_a_collection_needs_methods_in_its_rows():
    with pytest.raises(TableError, match="needs 'method'"):
        validate_paper_table({'results': [RESULT]}, '_collection')
    validate_paper_table({'results': [{**RESULT, 'method': 'KD'}]}, '_collection')


def test_measured_rows_are_read_from_yaml_and_json(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps([MEASURED]))
    (tmp_path / 'b.yml').write_text(yaml.safe_dump({'results': [{**MEASURED, 'score': 72}]}))
    (tmp_path / 'notes.txt').write_text('no table')
    rows = measured_rows(tmp_path)
    assert [row['score'] for row in rows] == [71.0, 72] and {row['origin'] for row in rows} == {'measured'}
    assert [row['table'] for row in rows] == ['a.json', 'b.yml']
    assert measured_rows(tmp_path, student='RESNET-20') == rows and measured_rows(tmp_path, method='kd') == []
    assert measured_rows(tmp_path / 'absent') == []
    with pytest.raises(TypeError, match='epochs'):
        measured_rows(tmp_path, epochs='240')


@pytest.mark.parametrize(('change', 'message'), [
    ({'score': '71'}, 'finite number'), ({'score': float('nan')}, 'finite number'), ({'score': True}, 'finite number'),
    ({'verified': True}, "papers' numbers"), ({'method': None}, "'method'"), ({'source': None}, "'source'")])
def test_a_broken_measured_row_is_told(change, message):
    validate_measured([MEASURED], 'a.json')
    with pytest.raises(TableError, match=message):
        validate_measured([{**MEASURED, **change}], 'a.json')


@pytest.mark.parametrize(('name', 'text'), [('a.json', '{'), ('a.yml', 'a: [1'), ('a.yml', 'text')])
def test_an_unreadable_file_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=name):
        measured_rows(tmp_path)
