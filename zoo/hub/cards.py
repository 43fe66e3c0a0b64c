"""Model cards: reading, checking, writing, and the index of all released checkpoints that is built from them.

A card is ``model_cards/<name>.md``: YAML front matter in the Hugging Face model-card convention (``library_name``,
``pipeline_tag``, ``tags``, ``datasets``, ``metrics``, ``license``, ``model-index``), the zoo's part under ``zoo``, and prose.
Folders of ``ZOO_CARDS`` (separated as in ``PATH``) come on top of the zoo's own.
"""
import copy
import functools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zoo.registry import UnknownNameError, near_names, unknown

HERE = Path(__file__).parent
#: weights that come with the package, and how cards name their folder
WEIGHTS, EMBEDDED = HERE / 'weights', 'zoo/hub/weights'
#: a checkpoint's or a file's name: no separators, nothing hidden
PLAIN_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.+-]*')
#: files of ``model_cards`` that are no cards
NOT_CARDS = ('README.md', 'template.md')
FACTS_BEGIN, FACTS_END = '<!-- facts:begin -->', '<!-- facts:end -->'
#: Hugging Face's names of what a checkpoint does
PIPELINE_TAGS = ('image-classification', 'object-detection', 'image-segmentation', 'image-feature-extraction',
                 'unconditional-image-generation', 'text-to-image', 'image-to-image', 'mask-generation', 'depth-estimation',
                 'zero-shot-image-classification')
DTYPES = ('float32', 'float16', 'bfloat16')


class CardError(ValueError):
    """A card that does not hold to the schema; the message names the card, the field and what it must be."""


def number(value: float, *, like: float | None = None, sign: str = '') -> str:
    """A score with two decimals, or four where it is (or ``like`` is) below 1."""
    return f'{value:{sign}.{2 if abs(value if like is None else like) >= 1 else 4}f}'


@dataclass(frozen=True)
class Card:
    """A parsed card.

    Attributes:
        name: the checkpoint's name, which is the file's.
        path: where the card lies.
        facts: the whole front matter.
        prose: what follows it.
    """

    name: str
    path: Path
    facts: dict = field(repr=False)
    prose: str = field(default='', repr=False)

    @property
    def zoo(self) -> dict:
        """The zoo's part of the front matter."""
        return self.facts['zoo']

    @property
    def task(self) -> str:
        """Hugging Face's name of the task, such as ``image-classification``."""
        return self.facts['pipeline_tag']

    @property
    def dataset(self) -> str:
        """The data set that the scores were measured on."""
        return self.zoo['data']['name']

    @property
    def methods(self) -> list[str]:
        """Slugs of the distillers; ``['none']`` for a network trained alone."""
        method = self.zoo['method']
        return [method] if isinstance(method, str) else list(method)

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return self.zoo['parameters']

    @property
    def monitor(self) -> str:
        """The metric of :attr:`score`."""
        return self.zoo['monitor']

    @property
    def score(self) -> float:
        """What the released file scores: the first number of ``model-index``."""
        return self.facts['model-index'][0]['results'][0]['metrics'][0]['value']

    @property
    def files(self) -> list[dict]:
        """The entries of ``zoo.files``; the first is the checkpoint."""
        return self.zoo['files']

    @property
    def license(self) -> str:
        """Licence of the weights."""
        return self.facts['license']

    def row(self) -> dict[str, Any]:
        """One row of the index: what a list or a table of checkpoints shows."""
        own, file, alone = self.zoo, self.files[0], self.zoo['alone']
        teachers = own['teachers']
        return dict(
            name=self.name, task=self.task, dataset=self.dataset, method='+'.join(self.methods),
            student=own['build'].get('type'), parameters=self.parameters, metric=self.monitor, score=self.score,
            last=own['last'].get(self.monitor),
            best=own['best'].get(self.monitor), alone=alone['mean'] if alone else None, verdict=own['verdict'],
            teacher=teachers[0]['name'] if teachers else None, teacher_score=teachers[0]['score'] if teachers else None,
            seeds=list(own['seeds']), epochs=own['epochs'], config=own['config'], license=self.license, bytes=file['bytes'],
            dtype=file['dtype'], embedded='embedded' in file)


# ---- the schema

Check = Callable[[Any], str | None]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _texts(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
        return 'a list of texts'


def _some_texts(value: Any) -> str | None:
    return 'a list of texts, at least one' if _texts(value) or not value else None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else 'a text'


def _text_or_none(value: Any) -> str | None:
    return None if value is None or not _text(value) else 'a text or null'


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, dict) else 'a mapping'


def _mapping_or_none(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict) else 'a mapping or null'


def _count(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 'a whole number'


def _count_or_none(value: Any) -> str | None:
    return None if value is None else _count(value) and 'a whole number or null'


def _scores(value: Any) -> str | None:
    if not isinstance(value, dict) or not value or not all(_number(v) for v in value.values()):
        return 'a mapping of metrics to numbers'


def _finite(value: Any) -> str | None:
    return None if _number(value) and math.isfinite(value) else 'a finite number'


def _finite_or_none(value: Any) -> str | None:
    return None if value is None else _finite(value) and 'a finite number or null'


def _seeds(value: Any) -> str | None:
    return None if isinstance(value, list) and value and not any(map(_count, value)) else 'a list of whole numbers, not empty'


def _method(value: Any) -> str | None:
    return None if not _text(value) or (value and not _texts(value)) else 'a slug, a list of slugs, or none'


def _one_of(*known: Any) -> Check:
    return lambda value: None if value in known else f'one of {", ".join(map(str, known))}'


def _sha256(value: Any) -> str | None:
    return None if isinstance(value, str) and re.fullmatch(r'[0-9a-f]{64}', value) else 'a sha256 of 64 hexadecimal digits'


def _file_name(value: Any) -> str | None:
    return None if is_plain_name(value) else 'a plain file name (letters, digits, "._+-"; no folder, no "..")'


def _urls(value: Any) -> str | None:
    kinds = ('https://', 'http://', 'hf://')
    good = isinstance(value, list) and all(isinstance(v, str) and v.startswith(kinds) for v in value)
    return None if good else f'a list of addresses that begin with {", ".join(kinds)}'


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else 'a list'


def _list_of_mappings(value: Any) -> str | None:
    return None if isinstance(value, list) and all(isinstance(v, dict) for v in value) else 'a list of mappings'


#: what Hugging Face's convention has that the zoo needs
TOP: dict[str, Check] = {
    'library_name': _text, 'pipeline_tag': _one_of(*PIPELINE_TAGS), 'license': _text, 'tags': _some_texts,
    'datasets': _some_texts, 'metrics': _some_texts, 'model-index': _list_of_mappings, 'zoo': _mapping}
ZOO: dict[str, Check] = {
    'config': _text_or_none, 'command': _text_or_none, 'method': _method, 'distillers': _list_of_mappings, 'build': _mapping,
    'parameters': _count, 'preprocess': _mapping, 'teachers': _list_of_mappings, 'initial_weights': _text_or_none,
    'alone': _mapping_or_none, 'verdict': _text, 'evaluation': _mapping_or_none, 'data': _mapping, 'seeds': _seeds,
    'epochs': _count, 'iterations': _count_or_none, 'monitor': _text, 'last': _scores, 'best': _scores, 'file_scores': _scores,
    'runs': _list_of_mappings, 'training': _mapping, 'versions': _mapping, 'files': _list_of_mappings, 'limits': _some_texts}
#: the parts of lists and mappings of the zoo's part
PARTS: dict[str, dict[str, Check]] = {
    'teachers': {'name': _text, 'checkpoint': _text_or_none, 'score': _finite_or_none,
                 'sha256': lambda value: None if value is None else _sha256(value), 'parameters': _count_or_none},
    'alone': {'runs': _list_of_mappings, 'mean': _finite},
    'data': {'name': _text, 'license': _text, 'train_images': _count_or_none},
    'runs': {'seed': _count, 'last': _finite, 'best': _finite},
    'training': {'hardware': _text, 'seconds': _finite, 'finished': _text, 'batch_size': _count_or_none, 'amp': _text,
                 'processes': _count},
    'versions': {'zoo': _text, 'torch': _text, 'python': _text},
    'files': {'name': _file_name, 'sha256': _sha256, 'bytes': _count, 'dtype': _one_of(*DTYPES), 'urls': _urls}}
OPTIONAL = {
    'command': None, 'initial_weights': None, 'evaluation': None, 'file_scores': {}, 'runs': [], 'iterations': None,
    'preprocess': {}, 'files.urls': [], 'data.train_images': None, 'training.batch_size': None, 'training.processes': 1,
    'teachers.checkpoint': None, 'teachers.sha256': None, 'teachers.score': None, 'teachers.parameters': None}


def is_plain_name(name: Any) -> bool:
    """Whether a name is one and no path: no separator, no ``..``, not hidden."""
    return isinstance(name, str) and PLAIN_NAME.fullmatch(name) is not None and '..' not in name


def _fields(value: Mapping, schema: Mapping[str, Check], where: str, *, short: str = '', closed: bool = True) -> Iterator[str]:
    for key, check in schema.items():
        if key not in value:
            if short + key not in OPTIONAL:
                close = near_names(key, [str(k) for k in value if k not in schema], limit=1)
                yield f'{where}{key} is missing{f"; is {close[0]!r} meant for it?" if close else ""}'
            continue
        wanted = check(value[key])
        if wanted is not None:
            yield f'{where}{key} must be {wanted}; it is {_shown(value[key])}'
    if closed:
        for key in value:
            if key not in schema:
                close = near_names(str(key), schema, limit=1)
                yield f'{where}{key} is not in the schema{f": did you mean {close[0]}?" if close else ""}'


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + '...'


def _results(value: Any, name: str) -> Iterator[str]:
    if len(value) != 1 or value[0].get('name') != name:
        yield f'model-index must be a list of one mapping with name: {name}'
        return
    results = value[0].get('results')
    if not isinstance(results, list) or not results:
        yield 'model-index.results must be a list, not empty'
        return
    for number, result in enumerate(results, 1):
        where = f'model-index.results {number}: '
        if not isinstance(result, dict):
            yield f'{where}must be a mapping'
            continue
        for part, keys in (('task', ('type',)), ('dataset', ('type', 'name'))):
            for key in keys:
                if not isinstance(result.get(part), dict) or _text(result[part].get(key)):
                    yield f'{where}{part}.{key} is missing or no text'
        metrics = result.get('metrics')
        if not isinstance(metrics, list) or not metrics:
            yield f'{where}metrics must be a list, not empty'
            continue
        for metric in metrics:
            if not isinstance(metric, dict) or _text(metric.get('type')) or _finite(metric.get('value')):
                yield f'{where}a metric needs type (a text) and value (a finite number); it is {_shown(metric)}'


def problems(facts: Any, name: str) -> list[str]:
    """What is wrong with a card's front matter, one sentence each; empty if nothing is.

    Args:
        facts: the parsed front matter.
        name: the card's file name without ending.
    """
    if not isinstance(facts, dict):
        return ['it has no front matter: a mapping in YAML between two lines ---']
    found = list(_fields(facts, TOP, '', closed=False))
    if not is_plain_name(name):
        found.append(f'its name {name!r} must be letters, digits and "._+-", without a folder')
    if isinstance(facts.get('model-index'), list) and not _list_of_mappings(facts['model-index']):
        found += _results(facts['model-index'], name)
    own = facts.get('zoo')
    if not isinstance(own, dict):
        return found
    found += _fields(own, ZOO, 'zoo.')
    for part, schema in PARTS.items():
        value = own.get(part)
        if value is None or ZOO[part](value) is not None:
            continue
        # a runs' mapping, a file and versions may say more than the schema knows
        for number, entry in enumerate(value if isinstance(value, list) else [value], 1):
            where = f'zoo.{part}{f" {number}" if isinstance(value, list) else ""}.'
            found += _fields(entry, schema, where, short=f'{part}.', closed=False)
    if not own.get('files') and isinstance(own.get('files'), list):
        found.append('zoo.files must name at least one file')
    for entry in own.get('files') if not _list_of_mappings(own.get('files')) else ():
        if 'embedded' in entry and entry['embedded'] != EMBEDDED:
            found.append(f'zoo.files: embedded must be {EMBEDDED}; it is {_shown(entry["embedded"])}')
        if 'embedded' not in entry and not entry.get('urls') and not entry.get('beside'):
            found.append(f'zoo.files: {entry.get("name")} has no source: embedded, urls, or beside: true (it lies by the card)')
    monitor = own.get('monitor')
    for part in ('last', 'best'):
        if isinstance(monitor, str) and isinstance(own.get(part), dict) and monitor not in own[part]:
            found.append(f'zoo.{part} lacks the monitored metric {monitor}')
    return found


# ---- reading and writing

def parse(text: str, name: str) -> tuple[dict, str]:
    """Front matter and prose of a card's text, checked.

    Raises:
        CardError: naming the card and the first field that is wrong.
    """
    matter = re.match(r'---\r?\n(.*?)\r?\n---\r?\n(.*)', text, re.DOTALL)
    try:
        facts = yaml.load(matter[1], Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader)) if matter else None
    except yaml.YAMLError as error:
        raise CardError(f'Card {name}: its front matter is no YAML: {" ".join(str(error).split())}.') from None
    found = problems(facts, name)
    if found:
        more = f' ({len(found) - 1} further problems)' if len(found) > 1 else ''
        raise CardError(f'Card {name}: {found[0]}.{more}')
    for path, default in OPTIONAL.items():
        part, _, key = path.rpartition('.')
        if not part:
            facts['zoo'].setdefault(key, copy.copy(default))
            continue
        value = facts['zoo'][part]
        for entry in value if isinstance(value, list) else [value]:
            entry.setdefault(key, copy.copy(default))
    return facts, matter[2]


def read_card(path: str | os.PathLike) -> Card:
    """Read and check one card.

    Raises:
        FileNotFoundError: if there is none.
        CardError: naming the card and the field that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'No card {path}.')
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _read(path: Path, changed: int, size: int) -> Card:
    facts, prose = parse(path.read_text(encoding='utf-8'), path.stem)
    return Card(path.stem, path, facts, prose)


def render(facts: Mapping, prose: str) -> str:
    """A card's text."""
    matter = yaml.safe_dump(_plain(facts), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return f'---\n{matter}---\n{prose.strip()}\n'


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# ---- the index

def own_folder() -> Path:
    """The zoo's cards: ``model_cards`` of the checkout, or their copy in an installed package."""
    root = HERE.parent.parent
    checkout = root / 'model_cards'
    return checkout if checkout.is_dir() and (root / 'setup.cfg').is_file() else HERE / 'cards'


def card_folders() -> list[Path]:
    """Where cards are looked for; of two with one name, the first folder's counts."""
    extra = [Path(p).expanduser() for p in os.environ.get('ZOO_CARDS', '').split(os.pathsep) if p]
    return [*extra, own_folder()]


def card_paths() -> dict[str, Path]:
    """All cards by name, unread."""
    found: dict[str, Path] = {}
    for folder in card_folders():
        for path in sorted(folder.glob('*.md')) if folder.is_dir() else ():
            if path.name not in NOT_CARDS and not path.name.startswith(('_', '.')):
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def names() -> list[str]:
    """All released checkpoints."""
    return list(card_paths())


def card(name: str) -> Card:
    """The card of a checkpoint.

    Raises:
        UnknownNameError: with the nearest names.
        CardError: if the card does not hold to the schema.
    """
    known = card_paths()
    if name not in known:
        raise UnknownNameError(unknown('checkpoint zoo://', name, known) if known else
                               f'Unknown checkpoint zoo:// {name!r}: there are no cards in '
                               f'{", ".join(map(str, card_folders()))}.')
    return read_card(known[name])


def index(*, strict: bool = False) -> tuple[dict[str, Card], list[CardError]]:
    """All cards by name, and an error for each that cannot be read.

    Raises:
        CardError: the first, where ``strict``.
    """
    cards, errors = {}, []
    for name, path in card_paths().items():
        try:
            cards[name] = read_card(path)
        except CardError as error:
            if strict:
                raise
            errors.append(error)
    return cards, errors


def select(cards: Mapping[str, Card], *, task: str | None = None, dataset: str | None = None, method: str | None = None,
           max_parameters: float | None = None) -> dict[str, Card]:
    """The cards that fit all filters; texts match as a part of the name, in any case, without ``-`` and ``_``."""
    def like(wanted: str | None, *values: str) -> bool:
        return wanted is None or any(_key(wanted) in _key(value) for value in values)

    return {name: card for name, card in cards.items()
            if like(task, card.task) and like(dataset, card.dataset)
            and (method is None or _key(method) in map(_key, card.methods))
            and (max_parameters is None or card.parameters <= max_parameters)}


def _key(text: str) -> str:
    return re.sub(r'[\s_-]', '', text.lower())
