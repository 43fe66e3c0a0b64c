"""Result rows as Markdown and CSV, and the papers' beside ours."""
import csv
import io
from collections.abc import Iterable, Sequence

from zoo.tables.records import name_key

SCORE_COLUMNS = ('score', 'paper_score')
UNVERIFIED = '†'
KEY = ('task', 'dataset', 'metric', 'method', 'teacher', 'student')


def _key(row: dict) -> tuple[str, ...]:
    return tuple(name_key(row.get(k)) for k in KEY)


def side_by_side(papers: Iterable[dict], measured: Iterable[dict]) -> list[dict]:
    """Papers' numbers and ours in columns of their own.

    Rows meet where task, dataset, metric, method, teacher and student are the same (case and hyphens do not count).
    Runs of ours with the same number of epochs are averaged.

    Args:
        papers: rows of :func:`zoo.tables.paper_rows`.
        measured: rows of :func:`zoo.tables.measured_rows`.

    Returns:
        Rows with those six keys; paper_score, paper_epochs, verified, source (None without a paper's number);
        our_score (mean), our_epochs, our_runs, our_source (None without ours). First the papers', in their order.

    Raises:
        ValueError: a row stands in the other's list.
    """
    papers, measured = list(papers), list(measured)
    for rows, origin in ((papers, 'paper'), (measured, 'measured')):
        for row in rows:
            if row.get('origin') != origin:
                raise ValueError(f'side_by_side: a row of origin {row.get("origin")!r} stands among the {origin} ones: '
                                 f'{row.get("method")} on {row.get("dataset")}.')
    groups: dict[tuple, dict[object, list[dict]]] = {}
    for row in measured:
        groups.setdefault(_key(row), {}).setdefault(row.get('epochs'), []).append(row)

    def ours(runs: list[dict]) -> dict:
        if not runs:
            return {'our_score': None, 'our_epochs': None, 'our_runs': 0, 'our_source': None}
        return {'our_score': sum(run['score'] for run in runs) / len(runs), 'our_epochs': runs[0].get('epochs'),
                'our_runs': len(runs), 'our_source': '; '.join(dict.fromkeys(run['source'] for run in runs))}

    table = []
    for row in papers:
        head = {k: row.get(k) for k in KEY}
        theirs = {'paper_score': row['score'], 'paper_epochs': row.get('epochs'), 'verified': row['verified'],
                  'source': row['source']}
        table += [{**head, **theirs, **ours(runs)} for runs in (groups.get(_key(row)) or {None: []}).values()]
    reported = {_key(row) for row in papers}
    nothing = {'paper_score': None, 'paper_epochs': None, 'verified': None, 'source': None}
    for key, by_epochs in groups.items():
        if key not in reported:
            table += [{**{k: runs[0].get(k) for k in KEY}, **nothing, **ours(runs)} for runs in by_epochs.values()]
    return table


def _check_columns(rows: list[dict], columns: Sequence[str]) -> None:
    if not columns or isinstance(columns, str):
        raise ValueError(f'columns must be a list of at least one name; got {columns!r}.')
    if len({row.get('origin') for row in rows}) > 1:
        raise ValueError('the rows mix papers\' numbers with measured ones, which never share a column; '
                         'lay them side by side with zoo.tables.side_by_side first.')
    known = {key for row in rows for key in row}
    missing = [column for column in columns if rows and column not in known]
    if missing:
        raise ValueError(f'no row has the column {", ".join(missing)}; there are: {", ".join(sorted(known))}.')


def _cell(value: object) -> str:
    if value is None:
        return ''
    if isinstance(value, dict):
        return f'{value.get("title")} ({value.get("venue")} {value.get("year")}, arXiv:{value.get("arxiv")})'
    if isinstance(value, float):
        return f'{value:.2f}' if abs(value) >= 1 or value == 0 else f'{value:.4g}'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return ' '.join(str(value).split()).replace('|', r'\|').replace('<', '&lt;')


def to_markdown(rows: Iterable[dict], columns: Sequence[str]) -> str:
    """A Markdown table.

    A paper's number that was not read in a document carries ``†``, and a note under the table says so.

    Args:
        rows: from :func:`zoo.tables.paper_rows`, :func:`zoo.tables.measured_rows` or :func:`side_by_side`.
        columns: keys to show, in order.

    Raises:
        ValueError: papers' and measured rows mixed, no columns, or a column that no row has.
    """
    rows = list(rows)
    _check_columns(rows, columns)
    numeric = [any(row.get(c) is not None for row in rows)
               and all(isinstance(row.get(c), (int, float, type(None))) for row in rows) for c in columns]
    lines = ['| ' + ' | '.join(columns) + ' |', '| ' + ' | '.join('---:' if n else '---' for n in numeric) + ' |']
    marked = False
    for row in rows:
        cells = []
        for column in columns:
            doubtful = column in SCORE_COLUMNS and row.get('verified') is False and row.get(column) is not None
            marked = marked or doubtful
            cells.append(_cell(row.get(column)) + (f' {UNVERIFIED}' if doubtful else ''))
        lines.append('| ' + ' | '.join(cells) + ' |')
    note = f'\n\n{UNVERIFIED} from memory; not read in a document.' if marked else ''
    return '\n'.join(lines) + note + '\n'


def to_csv(rows: Iterable[dict], columns: Sequence[str]) -> str:
    """The same as comma-separated values, numbers unrounded.

    Where a paper's number is shown, the column ``verified`` is added at the end if it is not asked for.

    Raises:
        ValueError: as :func:`to_markdown`.
    """
    rows, columns = list(rows), list(columns) if not isinstance(columns, str) else columns
    _check_columns(rows, columns)
    if 'verified' not in columns and set(columns) & set(SCORE_COLUMNS) and any('verified' in row for row in rows):
        columns.append('verified')
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(columns)
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow(['' if v is None else _cell(v) if isinstance(v, dict) else str(v).lower()
                         if isinstance(v, bool) else v for v in values])
    return out.getvalue()
