"""Choosing released checkpoints, listing them, and getting several with a progress bar: the logic of tools/download.py."""
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from .cards import Card, card, index, number, select
from .download import DiskFullError, DownloadError, fetch, on_disk

__all__ = ['as_json', 'as_table', 'chosen', 'fetch_all']


def chosen(names: Sequence[str] = (), **filters) -> dict[str, Card]:
    """The named cards, or all that can be read (what is wrong with the others goes to standard error), filtered.

    Args:
        names: of checkpoints; none means all.
        **filters: of :func:`zoo.hub.select`.

    Raises:
        UnknownNameError, CardError: for a name that is unknown or whose card is broken.
    """
    if names:
        cards = {name: card(name) for name in names}
    else:
        cards, errors = index()
        for error in errors:
            print(f'warning: {error}', file=sys.stderr)
    return select(cards, **filters)


def where_is(found: Card) -> str:
    """``embedded``, ``cached``, ``local`` or ``remote``."""
    path = on_disk(found)
    if path is None:
        return 'remote'
    return 'embedded' if path.parent.name == 'weights' else 'local' if path.parent == found.path.parent else 'cached'


def as_table(cards: Mapping[str, Card], *, terminal: bool = False) -> str:
    """A table for a terminal, or lines with tabs for another program."""
    rows = [(name, found.task, found.dataset, '+'.join(found.methods), f'{found.parameters:,}',
             f'{found.monitor} {number(found.score)}', f'{found.files[0]["bytes"] / 1e6:.2f} MB', where_is(found),
             found.license)
            for name, found in cards.items()]
    head = ('name', 'task', 'data', 'method', 'parameters', 'score', 'size', 'where', 'licence')
    if not terminal:
        return ''.join('\t'.join(row) + '\n' for row in (head, *rows))
    table = Table(*head, title=f'{len(rows)} checkpoints')
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def as_json(cards: Mapping[str, Card]) -> str:
    """The index as JSON: a list of :meth:`Card.row`."""
    return json.dumps([found.row() for found in cards.values()], indent=2) + '\n'


def fetch_all(cards: Mapping[str, Card], *, dest: str | None = None, mirrors: Sequence[str] = (), offline: bool | None = None,
              trust_pickle: bool = False) -> list[str]:
    """Get all files of all cards; prints each one's path, and on standard error a bar and what failed.

    Returns:
        The names that could not be had.
    """
    failed = []
    console = Console(stderr=True)
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        for name, found in cards.items():
            for entry in found.files:
                task = bar.add_task(entry['name'], total=entry['bytes'])
                try:
                    path: Path = fetch(
                        found, entry, dest=dest, mirrors=mirrors, offline=offline, trust_pickle=trust_pickle,
                        progress=lambda done, size, task=task: bar.update(task, completed=done, total=size))
                except DownloadError as error:
                    failed.append(name)
                    print(f'error: {error}', file=sys.stderr)
                    if isinstance(error, DiskFullError):
                        return failed
                    continue
                bar.update(task, completed=entry['bytes'])
                print(f'{name}\t{path}', flush=True)
    return failed
