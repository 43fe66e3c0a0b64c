"""The README's results, written from the cards and the measured tables; nothing in it depends on the day or the machine."""
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from zoo.tables.comparison import card_row, compare, measured_table_rows
from zoo.tables.records import measured_rows, paper_rows

BEGIN, END = '<!-- results:begin -->', '<!-- results:end -->'
COMMAND = 'python tools/benchmark.py --readme'


def _cell(text: object) -> str:
    return '' if text is None else ' '.join(str(text).split()).replace('|', r'\|').replace('<', '&lt;')


def _table(head: Iterable[str], rows: Iterable[Iterable[object]], left: int) -> list[str]:
    """A Markdown table whose first ``left`` columns are texts and the others numbers."""
    head = list(head)
    rules = ['---' if i < left else '---:' for i in range(len(head))]
    return ['| ' + ' | '.join(head) + ' |', '| ' + ' | '.join(rules) + ' |',
            *('| ' + ' | '.join(map(_cell, row)) + ' |' for row in rows)]


def _score(value: float | None, spread: float | None = None, *, like: float | None = None, sign: bool = False) -> str:
    """A score with its spread, or a difference of scores ``like`` this one, whose digits it takes."""
    if value is None:
        return ''
    scale = value if like is None else like
    digits = 2 if abs(scale) >= 1 or scale == 0 else 4
    text = f'{value:{"+" if sign else ""}.{digits}f}'
    return text if spread is None else f'{text} ± {spread:.{digits}f}'


def _papers(row: Mapping) -> str:
    return '' if row['paper_score'] is None else f'{row["paper_score"]}{"" if row["verified"] else " †"}'


def _runs(row: Mapping) -> str:
    return f'{row["our_runs"]}' + (f', {row["our_failed"]} failed' if row['our_failed'] else '')


def _variant(row: Mapping, facts: Mapping) -> str:
    """What tells this row from others of its method, less what stands above the table."""
    common = f'scored on the {facts.get("scored_on")} images'
    said = [text.removeprefix('config ') for text in (row['variant'] or '').split('; ') if text and text != common]
    return f' ({"; ".join(said)})' if said else ''


def _pair(row: Mapping) -> str:
    return f'{row["teacher"]} → {row["student"]}' if row['teacher'] else str(row['student'])


def _size(size: int | None) -> str:
    return '' if size is None else f'{size / 1e6:.2f} MB' if size < 1e7 else f'{size / 1e6:.0f} MB'


def _checkpoints(cards: Mapping[str, Mapping], papers: list[dict]) -> list[str]:
    ours = [card_row(facts, name, cards) for name, facts in sorted(cards.items())]
    sizes = {row['checkpoint']: _size(row['bytes']) for row in ours}
    rows = {}
    for row in compare(papers, ours):
        if row['our_score'] is not None:
            rows.setdefault(row['checkpoint'], row)  # the first of several papers' rows
    elsewhere = ' and '.join(sorted({_cell(row['dataset']) for row in ours if row['split'] != 'test'}))
    where = f' (of {elsewhere} on the validation set, as teacher and student alone)' if elsewhere else ''
    reported = any(row['paper_score'] is not None for row in rows.values())
    head = ['Checkpoint', 'Data', 'Method', 'Teacher → student', 'Metric', 'Score', 'Teacher', 'Student alone', 'Gain',
            *(['Paper, same pair'] if reported else []), 'Parameters', 'File']
    cells = [[f'[{name}](model_cards/{name}.md)', row['dataset'], row['method'], _pair(row), row['metric'],
              _score(row['our_score']), _score(row['our_teacher_score']), _score(row['our_alone']),
              _score(row['our_gain'], like=row['our_score'], sign=True), *([_papers(row)] if reported else []),
              f'{row["parameters"]:,}', sizes[name]]
             for name, row in rows.items()]
    return ['### Released checkpoints', '',
            f"{len(rows)} of them; `zoo.load('NAME')` gives a ready network. Score: of the released file, on the test set"
            f'{where}, '
            'trained to the last epoch. Student alone: the same budget without a teacher; gain: over it, the mean over the '
            'seeds that the card names.', '', *_table(head, cells, 5)]


def _sweeps(folder: str | Path | None, papers: list[dict]) -> list[str]:
    facts = {row['table']: row['facts'] for row in measured_rows(folder) if row['facts']}
    ours = measured_table_rows(folder)
    lines = ['### Methods under one recipe, several seeds'] if ours else []
    where = Path(folder) if folder else Path(__file__).parent / 'measured'
    groups: dict[tuple, list[dict]] = {}
    for row in ours:
        key = tuple(row.get(k) for k in ('table', 'dataset', 'metric', 'teacher', 'student', 'epochs'))
        groups.setdefault(key, []).append(row)
    for (table, *_), group in groups.items():
        rows = {}
        for row in compare(papers, group):
            if row['our_score'] is not None:
                rows.setdefault((row['method'], row['variant'], row['our_score']), row)  # the first of several papers' rows
        first = next(iter(rows.values()))
        said = facts.get(table) or {}
        page = Path(table).with_suffix('.md')
        link = f' ([table](zoo/tables/measured/{page}))' if (where / page).is_file() else ''
        teacher = f', teacher {_score(first["our_teacher_score"])}' if first['our_teacher_score'] is not None else ''
        seeds = f', seeds {first["our_seeds"]}' if first['our_seeds'] else ''
        epochs = f': {first["our_epochs"]} epochs' if first['our_epochs'] is not None else ''
        recipe = f'; {said["recipe"]}' if said.get('recipe') else ''
        recipe += '' if said.get('scored_on', 'test') == 'test' else f'; scored on the {said["scored_on"]} images'
        lines += ['', f'**{_cell(_pair(first))}** on {_cell(first["dataset"])}{epochs}{seeds}{teacher}{recipe}{link}.', '']
        reported = any(row['paper_score'] is not None for row in rows.values())
        differs = [row['differs'] for row in rows.values() if row['differs'] and row['paper_score'] is not None]
        head = ['Method', f'{first["metric"]}, last epoch', 'Against the student alone, same seeds', 'Runs',
                *(['Paper, same data and pair'] if reported else [])]
        cells = [['*student alone*' if row['method'] == 'none' else
                  row['method'] + _variant(row, said),
                  _score(row['our_score'], row['our_std']), _score(row['our_gain'], like=row['our_score'], sign=True),
                  _runs(row), *([_papers(row)] if reported else [])] for row in rows.values()]
        lines += _table(head, cells, 1)
        if not reported:
            lines += ['', "No paper's row of these methods is of this data set and pair."]
        elif differs:
            lines += ['', f'What differs from the papers: {"; ".join(dict.fromkeys(differs))}.']
    return lines


def results_section(cards: Mapping[str, Mapping], folder: str | Path | None = None) -> str:
    """The README's results in Markdown, without the markers.

    Args:
        cards: front matter of the zoo's own cards by name, see ``zoo.hub.cards``.
        folder: of measured tables; by default the package's.
    """
    papers = paper_rows()
    lines = [f'<!-- written by `{COMMAND}`: do not edit -->', '']
    if cards:
        lines += [*_checkpoints(cards, papers), '']
    lines += _sweeps(folder, papers)
    return '\n'.join(lines).strip()


def _parts(path: Path) -> tuple[str, str, str]:
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}: write one with the lines {BEGIN} and {END}.')
    text = path.read_text(encoding='utf-8')
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f'{path.name} must hold the line {BEGIN} once, and after it {END}.')
    before, _, rest = text.partition(BEGIN)
    now, _, after = rest.partition(END)
    return before, now, after


def write_section(path: str | Path, section: str) -> bool:
    """Put the section between the README's markers; returns whether anything changed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks the markers, or has them more than once.
    """
    path = Path(path)
    before, now, after = _parts(path)
    new = f'\n{section}\n'
    if new != now:
        path.write_text(f'{before}{BEGIN}{new}{END}{after}', encoding='utf-8')
    return new != now


def stale(path: str | Path, section: str) -> str | None:
    """None if the README holds the section as it is, else a sentence that says where it differs and what to do."""
    try:
        _, now, _ = _parts(Path(path))
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    old, new = now.strip().splitlines(), section.strip().splitlines()
    if old == new:
        return None
    differs = next((line for line in new if line not in old), None)
    differs = differs or next((line for line in old if line not in new), 'the order of the lines')
    return f'the results are not up to date, first at "{re.sub(r"[|*` ]+", " ", differs).strip()[:70]}": run {COMMAND}.'
