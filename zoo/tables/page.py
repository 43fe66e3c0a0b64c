"""The comparison as one HTML page that needs nothing else: sorted, filtered and plotted in the browser, offline.

The table is plain HTML, readable without JavaScript; ``page.js`` sorts and filters it. Everything that comes from a table
is escaped, and the page's policy allows no script but its own and no request at all.
"""
import base64
import hashlib
import html
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.tables.comparison import COLUMNS, comparison_csv, comparison_json, comparison_markdown, machine_text
from zoo.tables.records import name_key

FOLDER = Path(__file__).parent
#: rows that the page begins with; the script makes the others when they come into sight, and without scripts all are there
FIRST = 60
#: what a cell shows: theirs, ours, or neither
PAPER, OURS, NEITHER = 'paper', 'ours', ''


@dataclass(frozen=True)
class Cell:
    """A column of the page: the key that it is sorted by, its head, how wide it is, and a row's cell as HTML."""
    key: str
    head: str
    width: int
    html: Callable[[Mapping], str]
    side: str = NEITHER
    numeric: bool = False


def _text(value: object) -> str:
    # each row of the table is one line, which the script counts on
    return '' if value is None else html.escape(str(value)).replace('\n', '&#10;').replace('\r', '&#13;')


def _small(*values: object) -> str:
    said = ' · '.join(_text(value) for value in values if value not in (None, ''))
    return f'<small>{said}</small>' if said else ''


def _number(value: object, digits: int = 2, sign: bool = False) -> str:
    if value is None or isinstance(value, str):
        return _text(value)
    if value and abs(value) < 10 ** -digits:
        return f'{value:{"+" if sign else ""}.3g}'
    return f'{value:{"+" if sign else ""}.{digits}f}'


def _score(key: str, sign: bool = False) -> Callable[[Mapping], str]:
    """Scores in percent with two digits, those below 1 with four."""
    def cell(row: Mapping) -> str:
        scores = [row[k] for k in ('paper_score', 'our_score') if isinstance(row[k], (int, float))]
        return _number(row[key], 4 if scores and all(abs(score) < 1 for score in scores) else 2, sign)
    return cell


def _many(value: float | None) -> str:
    """``1.23 M`` for a number of parameters or operations."""
    if value is None:
        return ''
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= size:
            return f'{value / size:.3g} {unit}' if value / size < 999.5 else f'{value / size:.0f} {unit}'
    return f'{value:g}'


def _method(row: Mapping) -> str:
    checkpoint = f'zoo://{row["checkpoint"]}' if row['checkpoint'] and '/' not in row['checkpoint'] else row['checkpoint']
    narrow = _small(pair(row), row['dataset'], row['metric']).replace('<small>', '<small class=narrow>', 1)
    return f'<b>{_text(row["method"])}</b>{_small(row["variant"])}{_small(checkpoint)}{narrow}'


def pair(row: Mapping) -> str | None:
    """``teacher → student``, whichever is known."""
    if not row['teacher'] or name_key(row['teacher']) == 'none':
        return row['student']
    return f'{row["teacher"]} → {row["student"] or "?"}'


def _mark(row: Mapping) -> str:
    if row['paper_score'] is None:
        return ''
    if row['verified']:
        return ' <em class=yes>✓</em>'
    return ' <em class=no>†</em>'


def _paper(row: Mapping) -> str:
    if row['paper_score'] is None:
        return ''
    venue = re.search(r'\(([^()]*)\)$', row['paper'] or '')
    name = venue[1] if venue else row['table']
    # an identifier goes into an address only if it is one
    if row['arxiv'] and re.fullmatch(r'\d{4}\.\d{4,5}|[a-z-]+/\d{7}', row['arxiv']):
        link = f'<a href=https://arxiv.org/abs/{row["arxiv"]}>{_text(name)}</a>'
    else:
        link = _text(name)
    return link + _small(row['paper_source'])


def _our_score(row: Mapping) -> str:
    std = '' if row['our_std'] is None else f' <small>± {_score("our_std")(row)}</small>'
    return f'{_score("our_score")(row)}{std}'


def _signed(key: str) -> Callable[[Mapping], str]:
    def cell(row: Mapping) -> str:
        value = row[key]
        if value is None:
            return ''
        # a gain is already in the direction that is better
        good = value > 0 if key == 'our_gain' or row['better'] == 'higher' else value < 0
        return f'<span class="{"good" if good else "bad" if value else ""}">{_score(key, sign=True)(row)}</span>'
    return cell


def _runs(row: Mapping) -> str:
    seeds = '' if row['our_seeds'] is None else f'seed{"s" if " " in row["our_seeds"] else ""} {row["our_seeds"]}'
    failed = f'{row["our_failed"]} failed' if row['our_failed'] else None
    return f'{_text(row["our_runs"])}{_small(failed)}{_small(seeds)}'


def _of_network(key: str, shown: Callable[[object], str]) -> Callable[[Mapping], str]:
    def cell(row: Mapping) -> str:
        if row[key] is None:
            return ''
        if row['parameters_of'] == 'checkpoint':
            return shown(row[key])
        return f'<i>{shown(row[key])}</i>'
    return cell


CELLS = (
    Cell('label', 'Method', 150, _method),
    Cell('pair', 'Teacher → student', 178, lambda row: _text(pair(row))),
    Cell('dataset', 'Data set', 168, lambda row: _text(row['dataset']) + _small(row['task'], row['metric'])),
    Cell('paper_score', 'Paper', 82, lambda row: _score('paper_score')(row) + _mark(row), PAPER, True),
    Cell('our_score', 'Ours', 82, _our_score, OURS, True),
    Cell('delta', 'Ours − paper', 76, _signed('delta'), NEITHER, True),
    Cell('our_gain', 'Ours − alone', 76, _signed('our_gain'), OURS, True),
    Cell('differs', 'What differs from the paper’s run', 230, lambda row: _text(row['differs'])),
    Cell('parameters', 'Parameters', 104, _of_network('parameters', _many), NEITHER, True),
    Cell('flops', 'FLOPs', 84, _of_network('flops', _many), NEITHER, True),
    Cell('latency_ms', 'Latency, ms', 80, _of_network('latency_ms', _number), NEITHER, True),
    Cell('paper_alone', 'Paper: student alone', 80, _score('paper_alone'), PAPER, True),
    Cell('paper_teacher_score', 'Paper: teacher', 78, _score('paper_teacher_score'), PAPER, True),
    Cell('paper_epochs', 'Paper: epochs', 76, lambda row: _text(row['paper_epochs']), PAPER, True),
    Cell('source', 'Paper and source', 200, _paper, PAPER),
    Cell('our_alone', 'Ours: student alone', 80, _score('our_alone'), OURS, True),
    Cell('our_best', 'Ours: best epoch', 76, _score('our_best'), OURS, True),
    Cell('our_teacher_score', 'Ours: teacher', 76, _score('our_teacher_score'), OURS, True),
    Cell('our_epochs', 'Ours: epochs', 72, lambda row: _text(row['our_epochs']), OURS, True),
    Cell('our_runs', 'Ours: runs', 84, _runs, OURS, True),
    Cell('how', 'Ours: how', 190, lambda row: _text(row['how']) + _small(row['our_source']), OURS),
)
#: what the script needs of each row, beside the columns it sorts by
KEYS = ('task', 'dataset', 'method', 'pair', 'group', 'label', 'verified', 'source', 'own_network', 'paper_source',
        'our_source', 'checkpoint',
        *(cell.key for cell in CELLS if cell.key not in ('label', 'pair', 'dataset', 'source')))


def _spellings(texts: Iterable[str | None]) -> dict[str, str]:
    """The commonest spelling by key, so that ``ImageNet-1k`` and ``ImageNet-1K`` are one entry of a filter."""
    counts: dict[str, Counter] = {}
    for text in texts:
        if text:
            counts.setdefault(name_key(text), Counter())[text] += 1
    return {key: min(found, key=lambda text: (-found[text], text)) for key, found in counts.items()}


def _data(rows: list[dict]) -> str:
    """What the script reads: the rows' values, of which a text stands once in ``texts`` and else as its place, ``[3]``."""
    texts: dict[str, int] = {}
    names = {kind: _spellings(value(row) for row in rows) for kind, value in (
        ('dataset', lambda row: row['dataset']), ('method', lambda row: row['method']), ('pair', pair))}

    def values(row: Mapping) -> list:
        dataset = names['dataset'].get(name_key(row['dataset']), row['dataset'])
        known = {**row, 'dataset': dataset, 'method': names['method'].get(name_key(row['method']), row['method']),
                 'pair': names['pair'].get(name_key(pair(row)), pair(row)), 'group': f'{dataset}, {row["metric"]}',
                 'label': ' '.join(t for t in (row['method'], row['variant'] and f'({row["variant"]})') if t) or None,
                 'source': row['paper'] or row['table'], 'own_network': row['parameters_of'] == 'checkpoint'}
        found = (_plain(known[key]) for key in KEYS)
        return [[texts.setdefault(value, len(texts))] if isinstance(value, str) else value for value in found]
    packed = [values(row) for row in rows]
    text = json.dumps(dict(keys=KEYS, texts=list(texts), rows=packed), ensure_ascii=False, separators=(',', ':'),
                      allow_nan=False)
    # nothing in it can end the script element or begin a comment
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(row: Mapping) -> str:
    # end tags may be left out, and classes are told by the column: a browser reads the page in less time
    first, *others = (cell.html(row) for cell in CELLS)
    own = ' class=own' if row['our_score'] is not None else ''
    return f'<tr{own}><th scope=row>{first}<td>{"<td>".join(others)}'


def _columns(*keys: str) -> str:
    """A CSS selector of the columns with these keys, or of all that hold numbers."""
    places = [i for i, cell in enumerate(CELLS, 1) if (cell.key in keys if keys else cell.numeric)]
    return f':is({", ".join(f":nth-child({place})" for place in places)})'


def comparison_html(rows: list[dict], machine: Mapping[str, object], notes: Iterable[str] = (), *,
                    title: str = 'Distillation zoo: results') -> str:
    """The comparison as one self-contained page.

    Args:
        rows: of :func:`zoo.tables.compare`.
        machine: hardware and versions, see ``zoo.engine.benchmark.machine``.
        notes: sentences about what could not be evaluated, or came out otherwise.
        title: of the page.
    """
    script = (FOLDER / 'page.js').read_text(encoding='utf-8')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    heads = ''.join(f'<th scope="col" data-key="{cell.key}"{" class=n" if cell.numeric else ""}>'
                    f'<button type="button"{f" class={cell.side}" if cell.side else ""}>{_text(cell.head)}</button></th>'
                    for cell in CELLS)
    notes = [f'<li>{_text(" ".join(note.split()))}</li>' for note in notes]
    ours = sum(row['our_score'] is not None for row in rows)
    lines = list(map(_row, rows))
    parts = dict(
        numbers=_columns(), scores=_columns('paper_score', 'our_score'), our_score=_columns('our_score'),
        title=_text(title), machine=_text(machine_text(machine)), script=script, script_hash=f'sha256-{digest}',
        width=str(sum(cell.width for cell in CELLS)), heads=heads,
        # on a phone the second and third column are left out, the first, fourth and fifth are 136, 76 and 76 wide
        narrower=str(sum(cell.width for cell in CELLS[:5]) - 136 - 2 * 76), data=_data(rows),
        rows='\n'.join(lines[:FIRST]), later='\n'.join(lines[FIRST:]),
        cols=''.join(f'<col{" class=first" if i == 0 else ""} style="width:{cell.width}px">' for i, cell in enumerate(CELLS)),
        count=f'{len(rows)} rows, {ours} with a number of ours',
        notes=f'<details open><summary>Notes</summary><ul>{"".join(notes)}</ul></details>' if notes else '',
        columns=''.join(f'<dt>{_text(name)}</dt><dd>{_text(meaning)}</dd>' for name, meaning in COLUMNS.items()))
    # in one pass, so that a name that looks like a place of the template stays a name
    return re.sub(r'@@(\w+)@@', lambda place: parts[place[1]], (FOLDER / 'page.html').read_text(encoding='utf-8'))


def write_report(out: str | Path, rows: list[dict], machine: Mapping[str, object], notes: Iterable[str] = ()) -> list[Path]:
    """Write ``benchmark.md``, ``.csv``, ``.json`` and ``.html``; returns their paths.

    Args:
        out: a folder, made if it is not there.
        rows, machine, notes: as in :func:`comparison_html`.
    """
    out, notes = Path(out), list(notes)
    out.mkdir(parents=True, exist_ok=True)
    data = json.dumps(comparison_json(rows, machine, notes), indent=1, ensure_ascii=False, allow_nan=False)
    texts = {'md': comparison_markdown(rows, machine, notes), 'csv': comparison_csv(rows), 'json': data + '\n',
             'html': comparison_html(rows, machine, notes)}
    paths = [out / f'benchmark.{ending}' for ending in texts]
    for path, text in zip(paths, texts.values()):
        path.write_text(text, encoding='utf-8')
    return paths
