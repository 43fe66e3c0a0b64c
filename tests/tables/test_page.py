"""The page: everything escaped, nothing asked of any other server, papers' and our numbers in their own columns."""
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tables.test_comparison import MACHINE, our_strategy, ours, paper, paper_strategy
from zoo.tables import compare, comparison_html, paper_rows, write_report
from zoo.tables.page import CELLS, KEYS, OURS, PAPER

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>@@data@@</script><!-- \' & \u2028'


class Page(HTMLParser):
    """Elements, the table's cells by row, and addresses that would be fetched."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.rows, self.fetched, self.events, self.links, self.open = [], [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.events += [name for name in given if name.startswith('on')]
        self.fetched += [given[name] for name in ('src', 'data', 'srcset', 'poster', 'action') if name in given]
        self.fetched += [given['href']] if tag in ('link', 'base') else []
        self.links += [given['href']] if tag == 'a' else []
        if tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th') and self.rows:
            self.rows[-1].append('')
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ('td', 'th')

    def handle_data(self, text):
        if self.open:
            self.rows[-1][-1] += text


def data_of(text):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    rows = [[data['texts'][value[0]] if isinstance(value, list) else value for value in values] for values in data['rows']]
    return dict(keys=data['keys'], rows=rows)


def test_hostile_names_stay_text():
    text_keys = ('task', 'dataset', 'metric', 'method', 'teacher', 'student', 'variant')
    bad = {key: f'{key}{HOSTILE}' for key in text_keys}
    rows = compare([paper(**bad, source=HOSTILE, table=HOSTILE, score=f'1{HOSTILE}', paper=dict(
        title=HOSTILE, venue=HOSTILE, year=2024, arxiv='javascript:alert(1)'))],
        [ours(**bad, source=HOSTILE, checkpoint=HOSTILE, how=HOSTILE), ours(method=HOSTILE)])
    text = comparison_html(rows, dict(hardware=HOSTILE), [HOSTILE], title=HOSTILE)
    page, plain = Page(text), Page(comparison_html(compare([], []), {}))
    assert page.tags.count('script') == plain.tags.count('script') == 2 and 'img' not in page.tags and page.events == []
    assert page.links == [] and page.fetched == plain.fetched
    assert any(HOSTILE in ''.join(row) for row in page.rows)
    # and the script gets the very names
    values = data_of(text)
    assert values['keys'] == list(KEYS) and any(HOSTILE in str(value) for value in values['rows'][0])


@settings(max_examples=25)
@given(st.text(max_size=40))
def test_any_name_is_shown_as_it_is(name):
    text = comparison_html(compare([], [ours(method=f'a{name}b')]), MACHINE)
    shown = re.search(r'<b>(.*?)</b>', text, re.DOTALL)[1]
    assert html.unescape(shown) == f'a{name}b' or '\x00' in name or not name.isprintable()
    row = dict(zip(KEYS, data_of(text)['rows'][0]))
    assert row['method'] == f'a{name}b'


def test_nothing_is_fetched():
    text = comparison_html(compare(paper_rows(), [ours()]), MACHINE)
    assert Page(text).fetched == ['data:,']
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy
    for call in ('fetch(', 'XMLHttpRequest', 'import(', 'WebSocket', '@import', 'url('):
        assert call not in text
    assert all(link.startswith('https://arxiv.org/abs/') for link in Page(text).links)


def numbers(text):
    return [float(n) for n in re.findall(r'\d+(?:\.\d+)?', text)]


@settings(max_examples=40)
@given(st.lists(paper_strategy, max_size=4), st.lists(our_strategy, max_size=4))
def test_no_number_stands_in_the_others_column_of_the_page(papers, mine):
    text = comparison_html(compare(papers, mine), MACHINE)
    head, *rows = Page(text).rows
    assert len(head) == len(CELLS)
    for row in rows:
        assert len(row) == len(CELLS)
        for cell, shown in zip(CELLS, row):
            # papers' numbers are even, ours odd
            if cell.numeric and cell.side == PAPER:
                assert all(n % 2 == 0 for n in numbers(shown)), (cell.key, shown)
            if cell.numeric and cell.side == OURS and cell.key not in ('our_runs', 'our_gain'):
                assert all(n % 2 == 1 for n in numbers(shown)), (cell.key, shown)
    for values in data_of(text)['rows']:
        row = dict(zip(KEYS, values))
        assert not isinstance(row['paper_score'], float) or row['paper_score'] % 2 == 0
        assert row['our_score'] is None or row['our_score'] % 2 == 1


def test_verified_and_from_memory_are_shown_apart():
    head, *rows = Page(comparison_html(compare([paper(score=70.0), paper(score=60.0, verified=False)], [ours(score=50.0,
                                       method='x')]), MACHINE)).rows
    at = [cell.key for cell in CELLS].index('paper_score')
    assert [row[at] for row in rows] == ['', '70.00 ✓', '60.00 †']


def test_small_scores_keep_their_digits_and_spellings_are_one_filter():
    text = comparison_html(compare([paper(dataset='ImageNet-1k'), paper(dataset='ImageNet-1K'), paper(dataset='ImageNet-1k')],
                                   [ours(metric='coco/bbox_mAP', score=0.3125, alone=0.25)]), MACHINE)
    assert '0.3125' in text and '+0.0625' in text
    assert {dict(zip(KEYS, row))['dataset'] for row in data_of(text)['rows']} == {'ImageNet-1k', 'CIFAR-100'}


def test_the_same_rows_give_the_same_files(tmp_path):
    rows = compare(paper_rows(), [ours()])
    page = comparison_html(rows, MACHINE)
    # the page begins with some rows; the others, a line each, are text to a browser that runs scripts
    first, later = (part.split('</tbody>')[0].strip().splitlines() for part in page.split('<tbody')[1:])
    assert len(first) == 61 and len(first) + len(later) == len(rows) + 2 and all(line.startswith('<tr') for line in later[1:])
    assert [len(row) for row in Page(page).rows] == [len(CELLS)] * (len(rows) + 1)
    for folder in ('a', 'b'):
        paths = write_report(tmp_path / folder, rows, MACHINE, ['note'])
    assert [path.name for path in paths] == ['benchmark.md', 'benchmark.csv', 'benchmark.json', 'benchmark.html']
    for path in paths:
        assert path.read_bytes() == (tmp_path / 'a' / path.name).read_bytes()


BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='no chromium')
def test_a_browser_sorts_and_filters(tmp_path):
    rows = compare([paper(score=float(i), student=f'net{i}', task='detection' if i % 2 else 'classification')
                    for i in range(140)], [])
    page = tmp_path / 'page.html'
    page.write_text(comparison_html(rows, MACHINE), encoding='utf-8')

    def shown(state):
        told = subprocess.run([BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
                               '--disable-component-update', '--disable-sync', f'--user-data-dir={tmp_path / "profile"}',
                               '--virtual-time-budget=3000', '--dump-dom', f'{page.as_uri()}#{state}'],
                              capture_output=True, text=True, timeout=60).stdout
        if 'data-ready' not in told:
            pytest.skip('the browser does not run here')
        body = re.search(r'<tbody id="rows">(.*?)</tbody>', told, re.DOTALL)[1]
        return [numbers(line.split('</td>')[2])[-1] for line in re.findall(r'<tr[^>]*>(.*?)</tr>', body, re.DOTALL)], told

    assert shown('task=detection&sort=-paper_score')[0] == [float(i) for i in range(139, 19, -2)]
    assert shown('task=classification&sort=paper_score&q=net11')[0] == [110.0, 112.0, 114.0, 116.0, 118.0]
    scores, told = shown('method=none')
    assert scores == [] and 'No row fits' in told
