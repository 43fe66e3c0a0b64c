"""Result rows as Markdown and CSV; ours never in a paper's column."""
import csv
import io

import pytest

from zoo.tables import side_by_side, to_csv, to_markdown

KEY = {'task': 'classification', 'dataset': 'CIFAR-100', 'metric': 'top1', 'method': 'dkd', 'teacher': 'wrn_40_2',
       'student': 'wrn_16_2'}


def paper(**change):
    return {**KEY, 'origin': 'paper', 'table': 'dkd', 'paper': None, 'score': 76.23, 'verified': True, 'epochs': 240,
            'source': 'README', **change}


def ours(**change):
    return {**KEY, 'origin': 'measured', 'table': 'a.json', 'score': 75.0, 'epochs': 240, 'source': 'run 1', **change}


def test_markdown():
    text = to_markdown([paper(), paper(student='a|b', score=70.1, verified=False)], ['student', 'score'])
    assert text == ('| student | score |\n| --- | ---: |\n| wrn_16_2 | 76.23 |\n| a\\|b | 70.10 † |\n\n'
                    '† from memory; not read in a document.\n')


def test_markdown_without_rows_is_a_header():
    assert to_markdown([], ['student', 'score']).splitlines()[0] == '| student | score |'


def test_markdown_cells():
    source = {'title': 'T', 'venue': 'V', 'year': 2024, 'arxiv': '1'}
    text = to_markdown([paper(paper=source, teacher=None, score='1 to 5')], ['paper', 'teacher', 'score', 'verified'])
    assert text.splitlines()[2] == '| T (V 2024, arXiv:1) |  | 1 to 5 | yes |'


def test_csv_keeps_the_number_and_says_whether_it_is_verified():
    text = to_csv([paper(score=76.2345), paper(verified=False)], ['student', 'score'])
    assert list(csv.DictReader(io.StringIO(text))) == [{'student': 'wrn_16_2', 'score': '76.2345', 'verified': 'true'},
                    {'student': 'wrn_16_2', 'score': '76.23', 'verified': 'false'}]
    assert to_csv([ours()], ['student', 'score']) == 'student,score\nwrn_16_2,75.0\n'


@pytest.mark.parametrize('write', [to_markdown, to_csv])
def test_a_mixture_is_refused(write):
    with pytest.raises(ValueError, match='side_by_side'):
        write([paper(), ours()], ['student', 'score'])
    with pytest.raises(ValueError, match='no row has the column scores'):
        write([paper()], ['scores'])
    for columns in ([], 'score'):
        with pytest.raises(ValueError, match='list'):
            write([paper()], columns)


def test_side_by_side_meets_by_name_and_averages_runs():
    rows = side_by_side([paper(), paper(student='vgg8', score=70.0)],
                        [ours(teacher='WRN-40-2'), ours(score=76.0, source='run 2'), ours(epochs=2, score=30.0),
                         ours(student='resnet20', score=60.0)])
    assert [(r['student'], r['paper_score'], r['our_score'], r['our_epochs'], r['our_runs']) for r in rows] == [
        ('wrn_16_2', 76.23, 75.5, 240, 2), ('wrn_16_2', 76.23, 30.0, 2, 1), ('vgg8', 70.0, None, None, 0),
        ('resnet20', None, 60.0, 240, 1)]
    assert rows[0]['our_source'] == 'run 1; run 2' and rows[0]['source'] == 'README'
    assert '| 76.23 | 75.50 |' in to_markdown(rows, ['paper_score', 'our_score'])


def test_a_number_of_ours_never_stands_in_a_papers_column():
    for rows in (([ours()], []), ([], [paper()])):
        with pytest.raises(ValueError, match='stands among'):
            side_by_side(*rows)
    table = side_by_side([paper(verified=False)], [ours()])
    assert table[0]['paper_score'] == 76.23 and 'score' not in table[0]
    assert '76.23 † | 75.00 |' in to_markdown(table, ['paper_score', 'our_score'])
    assert to_csv(table, ['our_score', 'paper_score']).splitlines()[0] == 'our_score,paper_score,verified'
