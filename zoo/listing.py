"""What the zoo holds, as names with one-line summaries; the logic of ``tools/list.py``.

>>> from zoo.listing import entries
>>> [entry.name for entry in entries('metrics')]
['ClassificationMetric']
"""
import ast
import fnmatch
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo import registry
from zoo.registry import UnknownNameError, unknown

TIMM = 'timm:'


@dataclass(frozen=True)
class Entry:
    """A name and what it is, in one line."""
    name: str
    summary: str


def first_line(doc: str | None) -> str:
    """The first line of a docstring that is not blank, or an empty text."""
    return next((line.strip() for line in (doc or '').splitlines() if line.strip()), '')


def matches(name: str, pattern: str | None) -> bool:
    """Whether ``name`` fits a glob (``*``, ``?``, ``[``) or holds a substring; case does not count."""
    if not pattern:
        return True
    name, pattern = name.lower(), pattern.lower()
    return fnmatch.fnmatchcase(name, pattern) if set('*?[') & set(pattern) else pattern in name


def _registered(source: registry.Registry, package: str | None = None) -> list[Entry]:
    found = []
    for name in source.names():
        thing = source.module_dict[name]
        thing = thing.func if isinstance(thing, functools.partial) else thing
        # several rooms register in one registry; a partial's or an instance's own module tells which
        if package is None or (getattr(thing, '__module__', None) or package).startswith(package):
            found.append(Entry(name, first_line(getattr(thing, '__doc__', None))))
    return found


def _config_head(path: Path) -> str:
    text = path.read_text(encoding='utf-8')
    try:
        doc = first_line(ast.get_docstring(ast.parse(text)))
    except SyntaxError as error:
        return f'cannot be parsed: line {error.lineno}'
    comments = (line.lstrip('#').strip() for line in text.splitlines() if line.startswith('#'))
    return doc or next((line for line in comments if line), '')


def configs_folder() -> Path:
    """Where the configs lie: beside the package, in a checkout."""
    return Path(registry.__file__).resolve().parent.parent / 'configs'


def _configs() -> list[Entry]:
    root = configs_folder()
    paths = (path.relative_to(root) for path in sorted(root.rglob('*.py')))
    return [Entry(str(Path('configs') / path), _config_head(root / path)) for path in paths
            if not any(part.startswith('_') for part in path.parts)]


def _tables() -> list[Entry]:
    from zoo.tables import load_paper_table, paper_table_names
    found = []
    for slug in paper_table_names():
        table = load_paper_table(slug)
        results, paper = table['results'], table.get('paper')
        head = f'{paper["title"]} ({paper["venue"]} {paper["year"]}, arXiv:{paper["arxiv"]})' if paper else \
            'results of several methods'
        verified = sum(row['verified'] for row in results)
        found.append(Entry(slug, f'{head}: {len(results)} results, {verified} verified'))
    return found


_ROOMS: dict[str, Callable[[], list[Entry]]] = {
    'models': lambda: _registered(registry.MODELS, 'zoo.models'),
    'distillers': lambda: _registered(registry.DISTILLERS),
    'datasets': lambda: _registered(registry.DATASETS),
    'transforms': lambda: _registered(registry.TRANSFORMS),
    'metrics': lambda: _registered(registry.METRICS),
    'connectors': lambda: _registered(registry.CONNECTORS),
    'tasks': lambda: _registered(registry.TASKS),
    'hooks': lambda: _registered(registry.HOOKS),
    'configs': _configs,
    'tables': _tables,
}
ROOMS = tuple(_ROOMS)


def entries(room: str, pattern: str | None = None) -> list[Entry]:
    """The entries of a room, sorted by name.

    Args:
        room: one of :data:`ROOMS`.
        pattern: a glob or a substring of the name; ``timm:PATTERN`` in ``models`` lists timm's models instead.

    Raises:
        UnknownNameError: no such room; the message names the nearest.
        ValueError: ``timm:`` in another room.
    """
    if room not in _ROOMS:
        raise UnknownNameError(unknown('room', room, ROOMS))
    if pattern and pattern.startswith(TIMM):
        if room != 'models':
            raise ValueError(f'{pattern!r} lists timm\'s models; say: models {pattern}')
        return _timm_models(pattern.removeprefix(TIMM))
    return [entry for entry in sorted(_ROOMS[room](), key=lambda entry: entry.name.lower())
            if matches(entry.name, pattern)]


def _timm_models(pattern: str) -> list[Entry]:
    import timm
    found = []
    for name in timm.list_models():
        if matches(name, pattern):
            tags = [full.partition('.')[2] for full in timm.list_pretrained(f'{name}.*')] if pattern else []
            found.append(Entry(TIMM + name, f'pretrained: {", ".join(filter(None, tags))}' if any(tags) else ''))
    return found


def overview() -> list[Entry]:
    """The rooms and how much each holds; a room that cannot be imported says why, and hides no other."""
    found = []
    for room in ROOMS:
        try:
            found.append(Entry(room, str(len(entries(room)))))
        except (ImportError, ValueError) as error:
            found.append(Entry(room, f'cannot be listed: {first_line(str(error))}'))
    return found


def render(found: list[Entry], *, rich_output: bool) -> str | None:
    """Lines ``name<tab>summary``, or, on a terminal, print them by rich and return None."""
    if not rich_output:
        return ''.join(f'{entry.name}\t{entry.summary}'.rstrip() + '\n' for entry in found)
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style='bold', min_width=max((len(entry.name) for entry in found), default=0))
    table.add_column(overflow='ellipsis', no_wrap=True)
    for entry in found:
        table.add_row(Text(entry.name), Text(entry.summary))
    Console().print(table)
    return None
