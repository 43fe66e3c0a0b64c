"""Reading, checking and selecting the rows of result tables."""
import copy
import fnmatch
import functools
import json
import math
import re
from pathlib import Path

import yaml

from zoo.registry import UnknownNameError, unknown

FOLDER = Path(__file__).parent
PAPER_KEYS = {'title': str, 'venue': str, 'year': int, 'arxiv': str, 'code': (str, type(None)),
              'license': (str, type(None))}
TEXT_KEYS = ('task', 'dataset', 'metric', 'source')
# names of the field that differ by more than case and hyphens
SYNONYMS = {'fitnet': 'fitnets', 'imagenet': 'imagenet1k'}
_LOWER = re.compile(r'(^|[/_. ])(\w*fid|kid|nll|ece|r?mse|mae|brier|\w*loss|\w*error|perplexity|\w*kl|seconds?|acc/asr)'
                    r'([/_. -]|$)', re.IGNORECASE)


class TableError(ValueError):
    """A result table that does not hold to the schema; the message names file, row and key."""


def name_key(name: str | None) -> str:
    """``name`` without case, hyphens, underscores and blanks, so that ``wrn-40-2`` equals ``wrn_40_2``."""
    key = re.sub(r'[\s_-]', '', (name or '').lower()).replace('shufflenet', 'shuffle')
    return SYNONYMS.get(key, key)


def higher_is_better(metric: str) -> bool:
    """Whether more is better, by the metric's name: False for FID, losses, errors, distances, seconds and attack success.

    >>> [higher_is_better(m) for m in ('top1', 'mIoU', 'coco/bbox_mAP', 'fidelity')]
    [True, True, True, True]
    >>> [higher_is_better(m) for m in ('fid', 'fid_digits', 'top1_error', 'RMSE', 'reconstruction_loss')]
    [False, False, False, False, False]
    """
    return _LOWER.search(metric) is None


def _kinds(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return ' or '.join('null' if k is type(None) else k.__name__ for k in kinds)


def _check_row(row: object, where: str) -> None:
    if not isinstance(row, dict):
        raise TableError(f'{where}: a row must be a mapping; got {row!r}.')
    for key in row:
        if not isinstance(key, str) or not re.fullmatch(r'[a-z][a-z0-9_]*', key):
            raise TableError(f'{where}: key {key!r} must be lower-case letters, digits and underscores; '
                             'a value that holds a comma needs quotes.')
    for key in TEXT_KEYS:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise TableError(f'{where}: {key!r} must be a text; got {row.get(key)!r}.')
    for key in ('method', 'teacher', 'student'):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise TableError(f'{where}: {key!r} must be a text; got {row[key]!r}.')
    if 'origin' in row or 'table' in row:
        raise TableError(f"{where}: 'origin' and 'table' are set by the reader; remove them.")


def validate_paper_table(table: object, name: str) -> None:
    """Check one paper's table.

    Args:
        table: the parsed file: ``method``, ``paper`` (title, venue, year, arxiv, code, license) and ``results``, a list
            of rows with at least task, dataset, metric, source (texts), score (a number or a text such as ``1 to 5``)
            and verified (true or false). A collection, whose name begins with an underscore, has no method and paper,
            but a method in each row.
        name: the file's stem.

    Raises:
        TableError: naming file, row and key.
    """
    if not isinstance(table, dict):
        raise TableError(f'{name}.yml: must be a mapping with method, paper and results; got {type(table).__name__}.')
    collection = name.startswith('_')
    if not collection:
        if table.get('method') != name:
            raise TableError(f"{name}.yml: 'method' must be the file's name {name!r}; got {table.get('method')!r}.")
        paper = table.get('paper')
        if not isinstance(paper, dict):
            raise TableError(f"{name}.yml: 'paper' must be a mapping with {', '.join(PAPER_KEYS)}; got {paper!r}.")
        for key, kind in PAPER_KEYS.items():
            if key not in paper or not isinstance(paper[key], kind):
                raise TableError(f"{name}.yml: paper's {key!r} must be {_kinds(kind)}; got {paper.get(key)!r}.")
    if not isinstance(table.get('results'), list):
        raise TableError(f"{name}.yml: 'results' must be a list of rows, perhaps empty; got {table.get('results')!r}.")
    for index, row in enumerate(table['results'], 1):
        where = f'{name}.yml, result {index}'
        _check_row(row, where)
        score = row.get('score')
        if isinstance(score, bool) or not isinstance(score, (int, float, str)):
            raise TableError(f"{where}: 'score' must be a number or a text; got {score!r}.")
        if not isinstance(row.get('verified'), bool):
            raise TableError(f"{where}: 'verified' must be true (read in a document) or false; "
                             f'got {row.get("verified")!r}.')
        if collection and not row.get('method'):
            raise TableError(f"{where}: a row of a collection needs 'method'.")


def validate_measured(rows: object, name: str) -> None:
    """Check a file of our measured results.

    Args:
        rows: the parsed file: a list of rows, or a mapping whose ``results`` is one. A row has at least method, task,
            dataset, metric, source (the record or run it came from) and score, a finite number.
        name: the file's name, for messages.

    Raises:
        TableError: naming file, row and key.
    """
    rows = rows.get('results') if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise TableError(f"{name}: must be a list of rows, or a mapping with 'results'; got {type(rows).__name__}.")
    for index, row in enumerate(rows, 1):
        where = f'{name}, result {index}'
        _check_row(row, where)
        if not row.get('method'):
            raise TableError(f"{where}: 'method' is missing.")
        score = row.get('score')
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
            raise TableError(f"{where}: 'score' must be a finite number that a run measured; got {score!r}.")
        if 'verified' in row:
            raise TableError(f"{where}: 'verified' belongs to papers' numbers; name the run's record in 'source'.")


def _parse(path: Path) -> object:
    try:
        text = path.read_text(encoding='utf-8')
        if path.suffix == '.json':
            return json.loads(text)
        return yaml.load(text, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TableError(f'{path.name}: cannot be parsed: {" ".join(str(error).split())}') from error


def paper_table_names() -> list[str]:
    """Slugs of all papers' tables, sorted; collections of several methods begin with an underscore."""
    return sorted(path.stem for path in (FOLDER / 'papers').glob('*.yml'))


@functools.cache
def _paper_table(slug: str) -> dict:
    if slug not in paper_table_names():
        raise UnknownNameError(unknown('paper table', slug, paper_table_names()))
    table = _parse(FOLDER / 'papers' / f'{slug}.yml')
    validate_paper_table(table, slug)
    return table


def load_paper_table(slug: str) -> dict:
    """One paper's table as it is filed.

    Args:
        slug: the method, as in ``dkd``; see :func:`paper_table_names`.

    Returns:
        A fresh mapping, see :func:`validate_paper_table`.

    Raises:
        UnknownNameError: no such table; the message names near ones.
        TableError: the file does not hold to the schema.
    """
    return copy.deepcopy(_paper_table(slug))


def _matches(row: dict, wanted: dict[str, str | None]) -> bool:
    return all(pattern is None or (row.get(key) and fnmatch.fnmatchcase(name_key(row[key]), name_key(pattern)))
               for key, pattern in wanted.items())


def _fact(row: dict) -> tuple:
    named = (name_key(row.get(k)) for k in ('task', 'dataset', 'metric', 'method', 'teacher', 'student'))
    return (*named, row['score'])


def paper_rows(task: str | None = None, dataset: str | None = None, method: str | None = None,
               teacher: str | None = None, student: str | None = None) -> list[dict]:
    """Reported results that match.

    Each argument may hold ``*`` and ``?``; case, hyphens, underscores and blanks do not count.

    Args:
        task: as in ``classification``.
        dataset: as in ``CIFAR-100``.
        method: as in ``dkd``; a row whose paper compares further methods has their names.
        teacher, student: as in ``resnet32x4``.

    Returns:
        Rows, each with method, table (the file's slug), paper (its mapping, or None in a collection), origin
        ``paper``, verified, source and the other keys of the file. A number that a collection repeats is left out.
    """
    rows, known = [], set()
    # collections, which begin with an underscore, come last, so that what they repeat can be told
    for slug in sorted(paper_table_names(), key=lambda name: (name.startswith('_'), name)):
        table = _paper_table(slug)
        for result in table['results']:
            row = {'method': table.get('method'), 'table': slug, 'paper': table.get('paper'), 'origin': 'paper'}
            row.update(result)
            if slug.startswith('_') and _fact(row) in known:
                continue
            known.add(_fact(row))
            rows.append(row)
    wanted = {'task': task, 'dataset': dataset, 'method': method, 'teacher': teacher, 'student': student}
    return [copy.deepcopy(row) for row in rows if _matches(row, wanted)]


def measured_rows(folder: str | Path | None = None, **wanted: str | None) -> list[dict]:
    """Results that our runs measured.

    Args:
        folder: where the files ``*.yml``, ``*.yaml`` and ``*.json`` lie; by default the package's own. A folder that is
            not there holds none.
        **wanted: as in :func:`paper_rows`: task, dataset, method, teacher, student.

    Returns:
        Rows with origin ``measured``, table, the file's name, and facts, what the file says of all its rows (None where it
        is a list); see :func:`validate_measured`.

    Raises:
        TypeError: another filter than those five.
        TableError: a file does not hold to the schema.
    """
    odd = sorted(set(wanted) - {'task', 'dataset', 'method', 'teacher', 'student'})
    if odd:
        raise TypeError(f'measured_rows filters by task, dataset, method, teacher and student; got {", ".join(odd)}.')
    rows = []
    for path in sorted(Path(folder or FOLDER / 'measured').glob('*')):
        if path.suffix not in ('.yml', '.yaml', '.json'):
            continue
        parsed = _parse(path)
        validate_measured(parsed, path.name)
        results, facts = (parsed['results'], parsed.get('facts')) if isinstance(parsed, dict) else (parsed, None)
        rows += [dict(row, table=path.name, facts=facts, origin='measured') for row in results]
    return [row for row in rows if _matches(row, wanted)]
