"""What holds the house together; the logic of ``tools/check_zoo.py``.

Every registered distiller is documented with its source, has a config, golden cases, a table and a line in the README;
every config builds and takes one training step on tiny synthetic data; nothing lies about that nobody uses. Each check
returns :class:`Problem` objects, and none reads data or weights from files.

A method's file may say why it has none: ``NO_GOLDENS = 'reason'`` and ``NO_TABLE = 'reason'``, at module level. A task
whose batches are not images with labels registers in :data:`SYNTHETIC` how to make some.
"""
import ast
import contextlib
import copy
import hashlib
import importlib
import inspect
import io
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import yaml
from mmengine.config import Config

from zoo.data import ArrayDataset, ImagePipeline
from zoo.data.annotated_images import AnnotatedImages
from zoo.data.dense_pipeline import DensePipeline
from zoo.distillers import Distiller
from zoo.listing import matches
from zoo.models.openmmlab import MissingPackageError, merged, read_model_config, require
from zoo.registry import DATA_SAMPLERS, DATASETS, DISTILLERS, TASKS

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = '<!-- distillers:begin -->', '<!-- distillers:end -->'
#: folders of configs that hold no method of their own name (adaptive_collab is a way of drawing: zoo.diffusion)
NOT_METHODS = frozenset({'vanilla', 'sweep', 'demo', 'adaptive_collab'})
#: headings of the README's list, in its order; further families follow by name
FAMILIES = {'logit': 'Logits', 'feature': 'Features', 'relation': 'Relations', 'dense': 'Detection and segmentation',
            'vit': 'Vision transformers', 'diffusion': 'Diffusion', 'data_free': 'Without the data',
            'multi_teacher': 'Several teachers', 'self_online': 'Self- and online distillation'}
#: the longest side of an image in a training step, where the networks allow it
SIDE = 64
#: the same for detection and segmentation, whose maps shrink to 1/32 and less
DENSE_SIDE = 64
BATCH_SIZE = 4
NEGATIVES = 64
CLASSES = 20


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where."""
    where: str
    what: str

    def __str__(self) -> str:
        return f'{self.where}: {self.what}'


# ---- distillers

@dataclass(frozen=True)
class Method:
    """A registered distiller: its class, its method's slug and family, and the file that holds it."""
    name: str
    cls: type
    slug: str
    family: str

    @property
    def module(self):
        return importlib.import_module(self.cls.__module__)

    @property
    def where(self) -> str:
        """The file, below the project's root where it lies there."""
        path = Path(self.module.__file__)
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)

    @property
    def head(self) -> str:
        """The first paragraph of the class's docstring, in one line."""
        doc = inspect.cleandoc(self.cls.__dict__.get('__doc__') or '')
        return ' '.join(doc.partition('\n\n')[0].split())


def registered_methods() -> list[Method]:
    """All registered distillers of ``zoo.distillers``, by family and slug."""
    found = []
    for name in DISTILLERS.names():
        cls = DISTILLERS.get(name)
        parts = cls.__module__.split('.')
        if parts[:2] == ['zoo', 'distillers'] and len(parts) == 4:
            found.append(Method(name, cls, slug=parts[3], family=parts[2]))
    order = list(FAMILIES)
    return sorted(found, key=lambda method: (order.index(method.family) if method.family in order else len(order),
                                             method.family, method.slug, method.name))


_HEAD = re.compile(r'(?P<idea>.+) \((?P<paper>[^()]*\b(?:19|20)\d\d\b[^()]*)\)\.?$')
_COMMIT = re.compile(r'[\w.-]+/[\w.-]+@[0-9a-f]{7,40}\b')
_NO_CODE = ('No reference code', 'No code by the authors')
_LISTING = 'Reference code: the listing'


def check_source(method: Method) -> Iterator[Problem]:
    """The module names venue and year, a link, and the reference code with its commit or that there is none."""
    doc = ' '.join((method.module.__doc__ or '').split())
    if not doc:
        yield Problem(method.where, 'has no docstring: name authors, title, venue, year, arXiv and the reference code.')
        return
    preprint = re.search(r'arXiv:\d{4}\.\d{4,5}', doc)  # the number tells the year
    if not preprint and not re.search(r'\b(19|20)\d\d\b', doc):
        yield Problem(method.where, 'the docstring names no year: add venue and year of the paper.')
    if not preprint and not re.search(r'https?://|doi:', doc):
        yield Problem(method.where, 'the docstring has no arXiv:XXXX.XXXXX and no link to the paper.')
    if not (_COMMIT.search(doc) or any(text in doc for text in _NO_CODE) or _LISTING in doc):
        yield Problem(method.where, "the docstring names no reference code as owner/repository@commit and does not say "
                                    "'No reference code'.")
    if not _HEAD.match(method.head):
        yield Problem(method.where, f'the docstring of {method.name} must begin as "Name: one-line idea (Authors, Venue '
                                    f'Year, arXiv:XXXX.XXXXX)."; it begins as "{method.head[:80]}".')


def types_in(value: object) -> set[str]:
    """All values of ``type`` in a nested config."""
    if isinstance(value, Mapping):
        own = {value['type']} if isinstance(value.get('type'), str) else set()
        return own.union(*map(types_in, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(types_in, value))
    return set()


def reason(method: Method, name: str) -> str | None:
    """The method's ``NO_GOLDENS`` or ``NO_TABLE``, if it is a reason."""
    value = getattr(method.module, name, None)
    return value if isinstance(value, str) and len(value.split()) >= 3 else None


def golden_cases(slug: str, root: Path = ROOT) -> int:
    """How many golden cases a method has."""
    return len(list((root / 'tests' / 'goldens').glob(f'{slug}__*.npz')))


def check_methods(configs: Mapping[Path, Config], root: Path = ROOT,
                  methods: Iterable[Method] | None = None) -> Iterator[Problem]:
    """Documentation, configs, goldens and tables of all methods."""
    from zoo.tables import paper_rows, paper_table_names
    used = set().union(*(types_in(config.get('model', {})) for config in configs.values()))
    tables = set(paper_table_names())
    told: set[Problem] = set()  # two classes may share a module
    for method in registered_methods() if methods is None else methods:
        for problem in check_source(method):
            if problem not in told:
                yield problem
            told.add(problem)
        if method.name not in used:
            yield Problem(method.where, f'no config uses {method.name}: add configs/<task>/{method.slug}/*.py.')
        if not golden_cases(method.slug, root) and not reason(method, 'NO_GOLDENS'):
            yield Problem(method.where, f'has no golden case tests/goldens/{method.slug}__*.npz: add one, or say '
                                        "NO_GOLDENS = 'why' in the module.")
        if method.slug not in tables and not reason(method, 'NO_TABLE') and not paper_rows(method=method.slug):
            yield Problem(method.where, f'has no table zoo/tables/papers/{method.slug}.yml: add one, or say '
                                        "NO_TABLE = 'why' in the module.")


# ---- the README's list

def _linked(paper: str) -> str:
    return re.sub(r'arXiv:(\d{4}\.\d{4,5})', r'[arXiv:\1](https://arxiv.org/abs/\1)', paper)


def readme_list(root: Path = ROOT, methods: Iterable[Method] | None = None) -> str:
    """The list of all distillers as Markdown: a table for each family."""
    methods = registered_methods() if methods is None else list(methods)
    lines = [f'{len({method.slug for method in methods})} methods. Each row: the folder of its configs, the class, the '
             'idea, the paper, and how many recorded cases of reference code it is checked against.']
    for family in dict.fromkeys(method.family for method in methods):
        lines += ['', f'### {FAMILIES.get(family, family)}', '', '| Method | Class | Idea | Paper | Golden cases |',
                  '| --- | --- | --- | --- | --- |']
        for method in (method for method in methods if method.family == family):
            head = _HEAD.match(method.head)
            idea, paper = (head['idea'], _linked(head['paper'])) if head else (method.head, '')
            folder = next((f'[{method.slug}]({path.relative_to(root)})' for path in
                           sorted((root / 'configs').glob(f'*/{method.slug}'))), method.slug)
            cells = (folder, f'[{method.name}]({method.where})', idea, paper, str(golden_cases(method.slug, root) or '–'))
            lines.append('| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |')
    return '\n'.join(lines)


def fix_readme(root: Path = ROOT, methods: Iterable[Method] | None = None) -> bool:
    """Write the list anew between its markers; returns whether anything changed.

    Raises:
        FileNotFoundError: if there is no README.md.
        ValueError: if it lacks the markers, or has them more than once.
    """
    path = root / 'README.md'
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path.name}: write one with the lines {BEGIN} and {END}.')
    text = path.read_text(encoding='utf-8')
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f'{path.name} must hold the line {BEGIN} once, and after it {END}.')
    before, rest = text.split(BEGIN)
    new = f'{before}{BEGIN}\n{readme_list(root, methods)}\n{END}{rest.split(END)[1]}'
    if new != text:
        path.write_text(new, encoding='utf-8')
    return new != text


def check_readme(root: Path = ROOT, methods: Iterable[Method] | None = None) -> Iterator[Problem]:
    """The README's list is the one that :func:`readme_list` gives."""
    path = root / 'README.md'
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    if BEGIN not in text or END not in text:
        yield Problem('README.md', f'has no list of distillers between {BEGIN} and {END}.' if text else
                      'is missing; the list of distillers belongs in it.')
        return
    listed = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    wanted = readme_list(root, methods).splitlines()
    hint = 'run python tools/check_zoo.py --fix.'
    if listed != wanted:
        differs = next((row for row in wanted if row not in listed), None)
        differs = differs or next((row for row in listed if row not in wanted), 'the order of its rows')
        yield Problem('README.md', f'the list of distillers is not up to date, first at "{differs[:70]}": {hint}')


# ---- files

def config_files(root: Path = ROOT, pattern: str | None = None) -> list[Path]:
    """All configs that can be run, those whose path below the root fits ``pattern`` (glob or substring)."""
    return [path for path in sorted((root / 'configs').rglob('*.py'))
            if not any(part.startswith('_') for part in path.relative_to(root).parts)
            and matches(str(path.relative_to(root)), pattern)]


def read_configs(paths: Iterable[Path], root: Path = ROOT) -> tuple[dict[Path, Config], list[Problem]]:
    """The configs that can be read, and a problem for each that cannot."""
    configs, problems = {}, []
    for path in paths:
        try:
            configs[path] = Config.fromfile(path)
        except Exception as error:
            problems.append(Problem(str(path.relative_to(root)), f'cannot be read: {one_line(error)}'))
    return configs, problems


def bases_of(path: Path) -> set[Path]:
    """The files that a config names in ``_base_``, and theirs."""
    found: set[Path] = set()
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and any(getattr(target, 'id', '') == '_base_' for target in node.targets):
            names = ast.literal_eval(node.value)
            for name in [names] if isinstance(names, str) else names:
                base = (path.parent / name).resolve()
                if base.is_file() and base not in found:
                    found |= {base} | bases_of(base)
    return found


def check_files(root: Path = ROOT, slugs: Iterable[str] | None = None) -> Iterator[Problem]:
    """No dead base, no folder of configs without a method, no card of something that is not there."""
    from zoo.distillers import METHODS
    slugs = set(METHODS if slugs is None else slugs)
    runnable = config_files(root)
    used: set[Path] = set()
    for path in runnable:
        name = str(path.relative_to(root))
        try:
            used |= bases_of(path)
            head = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        except (SyntaxError, ValueError) as error:
            yield Problem(name, f'cannot be parsed: {one_line(error)}')
            continue
        if name not in head:
            yield Problem(name, f'its docstring does not hold its command, python tools/train.py {name}.')
    for base in sorted(path for path in (root / 'configs').rglob('*.py') if '_base_' in path.relative_to(root).parts):
        if base.resolve() not in used:
            yield Problem(str(base.relative_to(root)), 'no config uses this base: remove it.')
    protocols = {path.stem for path in (root / 'zoo' / 'protocols').glob('*.py')}
    for folder in sorted({path.parent for path in runnable}):
        if folder.name not in slugs | protocols | NOT_METHODS:
            yield Problem(str(folder.relative_to(root)), f'there is no method {folder.name!r}: the folder is named after '
                                                         'the file zoo/distillers/<family>/<slug>.py.')
    for card in sorted((root / 'model_cards').glob('*.md')):
        yield from _check_card(card, root, slugs)
    for weights in sorted((root / 'zoo' / 'hub' / 'weights').glob('*.safetensors')):
        if not (root / 'model_cards' / f'{weights.stem}.md').is_file():
            yield Problem(str(weights.relative_to(root)), f'has no card model_cards/{weights.stem}.md.')


def _check_card(card: Path, root: Path, slugs: set[str]) -> Iterator[Problem]:
    where = str(card.relative_to(root))
    if card.name in ('README.md', 'template.md') or card.name.startswith('_'):
        return
    matter = re.match(r'---\n(.*?)\n---\n', card.read_text(encoding='utf-8'), re.DOTALL)
    try:
        facts = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError as error:
        facts = None
        yield Problem(where, f'its front matter is no YAML: {one_line(error)}')
    if not isinstance(facts, dict):
        yield Problem(where, 'has no front matter: a mapping in YAML between two lines ---.')
        return
    if 'zoo' in facts:
        from zoo.hub.cards import problems
        yield from (Problem(where, f'{problem}.') for problem in problems(facts, card.stem))
        facts = facts['zoo'] if isinstance(facts['zoo'], dict) else facts
    config, method = facts.get('config'), facts.get('method', facts.get('distiller'))
    if config is None and method is None:
        yield Problem(where, 'names neither its config nor its method.')
    if isinstance(config, str) and not (root / config).is_file():
        yield Problem(where, f'is of the config {config}, which is not there.')
    for slug in method if isinstance(method, list) else [method]:
        if isinstance(slug, str) and slug not in slugs | NOT_METHODS | {'none'}:
            yield Problem(where, f'is of the method {slug!r}, which is not there.')
    for entry in facts.get('files') or []:
        if not isinstance(entry, dict) or 'name' not in entry:
            yield Problem(where, f'has a file without a name: {entry!r}.')
        elif 'embedded' in entry:  # others are somewhere on the network
            weights = root / entry['embedded'] / entry['name']
            if not weights.is_file():
                yield Problem(where, f'lists {entry["name"]}, which is not in {entry["embedded"]}.')
            elif hashlib.sha256(weights.read_bytes()).hexdigest() != entry.get('sha256'):
                yield Problem(where, f'has another sha256 than {entry["name"]}: the card or the file was changed.')


# ---- one training step

@DATA_SAMPLERS.register_module()
class FirstSamples:
    """The first ``count`` samples of a data set, in order."""

    def __init__(self, dataset, count: int, seed: int | None = None):
        self.count, self.seed = min(count, len(dataset)), seed

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""


@DATASETS.register_module()
class SyntheticImages(ArrayDataset):
    """Noise in memory with labels in turn, for checks.

    Args:
        num_classes: K; image ``i`` is of class ``i % K``.
        input_shape: ``(C, H, W)``.
        length: number of images.
        **options: of :class:`zoo.data.ArrayDataset`.
    """

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], length: int, **options):
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (length, *input_shape), generator=generator, dtype=torch.uint8)
        options.setdefault('name', 'synthetic')
        super().__init__(images, torch.arange(length) % num_classes, [str(k) for k in range(num_classes)], **options)


@DATASETS.register_module()
class SyntheticScenes(AnnotatedImages):
    """Noise with boxes, or with a label map of stripes of which one is ignored, for checks.

    Args:
        library: ``'mmdet'`` or ``'mmseg'``, whose samples are given.
        num_classes: K; image ``i`` holds the classes ``2 i % K`` and ``(2 i + 1) % K``, so that K / 2 images have them all.
        size: ``(height, width)``.
        length: number of images.
        ignore_index: of the label map.
        masks: also give instances' masks.
        test_mode: samples of an evaluation.
    """

    def __init__(self, library: str, num_classes: int, size: tuple[int, int], length: int, ignore_index: int = 255,
                 masks: bool = False, test_mode: bool = False):
        load = dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=masks) if library == 'mmdet' else \
            dict(type='LoadLabelMap')
        pack = 'PackDetInputs' if library == 'mmdet' else 'PackSegInputs'
        super().__init__([load, dict(type=f'{library}.{pack}')], library, [str(k) for k in range(num_classes)],
                         name='synthetic', test_mode=test_mode)
        self.library, self.size, self.ignore_index = library, tuple(size), ignore_index
        self._set_length(length)

    def record(self, index: int) -> dict:
        height, width = self.size
        image = np.random.default_rng(index).integers(256, size=(height, width, 3), dtype=np.uint8)
        labels = 2 * index % self.num_classes, (2 * index + 1) % self.num_classes
        if self.library == 'mmseg':
            label_map = np.full((height, width), labels[0], dtype=np.uint8)
            label_map[height // 2:] = labels[1]
            label_map[:, :width // 8] = self.ignore_index
            return self.results(index, image, path=f'{index}.png', seg_map_path=f'{index}.png', read_label_map=label_map.copy)
        instances = []
        for position, label in enumerate(labels):
            left, top = position * width // 3, height // 4
            right, bottom = left + width // 3, top + height // 2
            instances.append(dict(bbox=[float(left), float(top), float(right), float(bottom)], bbox_label=label, ignore_flag=0,
                                  mask=[[left, top, right, top, right, bottom, left, bottom]]))
        return self.results(index, image, path=f'{index}.png', instances=instances)


def _networks(value: object) -> Iterator[dict]:
    """The configs in a nested config that say how many classes or what timm model they are."""
    if isinstance(value, dict):
        if 'type' in value and ('model_name' in value or 'num_classes' in value):
            yield value
        for entry in value.values():
            yield from _networks(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _networks(entry)


def _shrink_transformers(model: Config, size: list[int]) -> None:
    """timm's networks of a fixed input size are built for ``size``."""
    import timm
    for net in _networks(model):
        if net['type'] == 'TimmModel':
            facts = timm.get_pretrained_cfg(net.get('model_name', ''), allow_unregistered=True)
            if facts is not None and facts.fixed_input_size:
                net['img_size'] = tuple(size)


def _fewer_classes(config: Config, number: int) -> None:
    """Make the task, and what repeats its number of classes, one of ``number`` classes."""
    task = config.task if 'task' in config else config.model.task
    mixup = (config.get('data_preprocessor') or {}).get('mixup') or {}
    for part in (*_networks(config.model), mixup):
        if part.get('num_classes') == task.num_classes:
            part['num_classes'] = number
    task.num_classes = number


def synthetic_classification(config: Config, side: int | None) -> None:
    """Replace a classification config's data by a few random images of the task's shape.

    Args:
        side: the longest side of an image; None keeps the task's.
    """
    task = config.task if 'task' in config else config.model.task
    channels, *size = task.get('input_shape', (3, 32, 32))
    # two images of each class where a method goes over the training set before training; a step reads only the first
    # ones, and to be quick there are fewer classes
    names = types_in(config.model.get('distillers', [])).intersection(DISTILLERS.names())
    passes = any(DISTILLERS.get(name).prepare is not Distiller.prepare for name in names)
    if passes and side is not None and task.num_classes > CLASSES:
        _fewer_classes(config, CLASSES)
    if side is not None and max(size) > side:
        size = [max(1, round(pixels * side / max(size))) for pixels in size]
        task.input_shape = (channels, *size)
        keep = False  # pipelines that crop to the true size are built, not run
        _shrink_transformers(config.model, size)
    else:
        keep = True
    _replace_data(config, (channels, *size), task.num_classes, 2 * task.num_classes if passes else 2 * BATCH_SIZE, keep)


def synthetic_masked_images(config: Config, side: int | None) -> None:
    """The same for masked images; the networks' ``img_size`` shrinks too, to a grid of 4x4 patches."""
    task = config.task if 'task' in config else config.model.task
    channels, pixels, _ = task.input_shape
    if side is not None:
        pixels = min(pixels, 4 * task.patch_size)
        task.input_shape = (channels, pixels, pixels)
        for network in (config.model.student, config.model.get('teacher')):
            if network is not None:
                network.img_size = pixels
    _replace_data(config, (channels, pixels, pixels), 2, 2 * BATCH_SIZE, side is None)


def _shorten(network: Config | None, library: str) -> None:
    """A ResNet-101 as a ResNet-50, whose maps have the same channels, in place."""
    if network is None or 'config' not in network:
        return
    backbone = merged(read_model_config(network.config, library), network.get('model') or {}).get('backbone') or {}
    if backbone.get('depth') in (101, 152):
        network.model = merged(network.get('model') or {}, dict(backbone=dict(depth=50)))


def synthetic_dense(config: Config, side: int | None) -> None:
    """Replace a detection or segmentation config's data by a few images of noise with two objects each."""
    task = config.task if 'task' in config else config.model.task
    library = TASKS.get(task.type).package
    require(library)
    height, width = task.input_shape[1:]
    side = DENSE_SIDE if side is not None else max(height, width)
    shape = [min(side, height), min(side, width)]
    task.input_shape = (task.input_shape[0], *shape)
    for network in (config.model.student, config.model.get('teacher')):
        _shorten(network, library)
    preprocessor = config.get('data_preprocessor') or {}
    for option in ('size', 'size_divisor', 'test_cfg', 'batch_augments'):
        preprocessor.pop(option, None)
    if library == 'mmseg' and preprocessor:
        preprocessor['size_divisor'] = 32
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key)
        if loader is None:
            continue
        dataset = loader.dataset
        while 'dataset' in dataset:  # of a wrapper
            dataset = dataset.dataset
        pipeline = dataset.get('pipeline') or []
        DensePipeline(pipeline, library)  # only built
        masks = any(step.get('with_mask') for step in pipeline if isinstance(step, Mapping))
        loader.dataset = dict(type='SyntheticScenes', library=library, num_classes=task.num_classes, size=shape,
                              length=max(4, (task.num_classes + 1) // 2),
                              ignore_index=task.get('ignore_index', 255), masks=masks, test_mode=not key.startswith('train'))
        loader.sampler = dict(type='FirstSamples', count=4 if key.startswith('train') else 2)
        loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
        for option in ('batch_sampler', 'prefetch_factor', 'timeout', 'collate_fn'):
            loader.pop(option, None)
    metric = dict(type='mmdet.CocoMetric', metric='bbox') if library == 'mmdet' else dict(type='mmseg.IoUMetric')
    for key in ('val_evaluator', 'test_evaluator'):
        if key in config:
            config[key] = dict(metric)


def synthetic_diffusion(config: Config, side: int | None) -> None:
    """The same for diffusion; pipelines of diffusers become a tiny U-Net, and the judge a network without weights."""
    task = config.task
    if config.model.student.type == 'DiffusersModel':
        task.input_shape = (task.input_shape[0], 8, 8)
        for name in ('student', 'teacher'):
            config.model[name] = _tiny_pipeline(tuple(task.input_shape))
    shape = tuple(task.input_shape)
    if task.get('condition_shape') is not None:
        task.condition_shape = (3, 8)
    steps = task.get('sampler', {}).get('steps', 2)
    if 'sampler' in task:
        task.sampler.steps = min(steps, 2)
    noise = config.train_dataloader.dataset.type == 'NoiseDataset'
    folder = Path(tempfile.mkdtemp()) if noise and task.get('condition_shape') else None
    _replace_data(config, shape, task.get('num_classes') or 2, 2 * BATCH_SIZE, side is None)
    if noise:
        config.train_dataloader.dataset = dict(type='NoiseDataset', length=2 * BATCH_SIZE, shape=shape,
                                               num_classes=task.get('num_classes'), prompts=_tiny_prompts(folder))
    for key in ('val_evaluator', 'test_evaluator'):
        if config.get(key) is not None:
            config[key].network = dict(type='resnet8', num_classes=task.num_classes)


def _tiny_pipeline(shape: tuple[int, int, int]) -> dict:
    return dict(type='DiffusersModel', unet=dict(
        _class_name='UNet2DConditionModel', sample_size=shape[-1], in_channels=shape[0], out_channels=shape[0],
        block_out_channels=(8, 16), down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'), layers_per_block=1,
        up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'), cross_attention_dim=8, attention_head_dim=2, norm_num_groups=4))


def _tiny_prompts(folder: Path | None) -> str | None:
    if folder is None:
        return None
    from safetensors.torch import save_file
    save_file(dict(embeddings=torch.zeros(2, 3, 8), empty=torch.zeros(3, 8)), folder / 'prompts.safetensors')
    return str(folder / 'prompts.safetensors')


def _replace_data(config: Config, shape: tuple[int, int, int], num_classes: int, length: int, keep: bool) -> None:
    """Put noise in place of all loaders' data sets.

    Args:
        shape: ``(C, H, W)``.
        length: images of the training set.
        keep: whether views keep their pipelines; the images' own are only built.
    """
    full = max(shape[1:]) > SIDE  # of networks that take no smaller images: as little as will do
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key)
        if loader is None:
            continue
        views, labelled = dict(loader.dataset.get('views') or {}), loader.dataset.get('labelled', True)
        for transforms in (loader.dataset.get('transforms') or [], *views.values()):
            ImagePipeline(transforms)
        loader.dataset = {'type': 'SyntheticImages', 'num_classes': num_classes, 'labelled': labelled, 'input_shape': shape,
                          'length': length if key.startswith('train') else 2 * BATCH_SIZE,
                          'views': views if keep else {name: [] for name in views}}
        loader.update(batch_size=2 if full else BATCH_SIZE, num_workers=0, persistent_workers=False, pin_memory=False,
                      drop_last=False)
        loader.sampler = {'type': 'FirstSamples', 'count': 2 if full else 2 * BATCH_SIZE}
        for option in ('batch_sampler', 'prefetch_factor', 'timeout'):
            loader.pop(option, None)


#: task type to a function that replaces a config's data in place: ``f(config, side)``
SYNTHETIC: dict[str, Callable[[Config, int | None], None]] = {
    'Classification': synthetic_classification, 'MaskedImages': synthetic_masked_images, 'DenseTask': synthetic_dense,
    'Diffusion': synthetic_diffusion}


def synthetic_data(kind: str) -> Callable[[Config, int | None], None]:
    """The entry of :data:`SYNTHETIC` for a task, or for one that it is derived from.

    Raises:
        ValueError: if there is none.
    """
    if kind in SYNTHETIC:
        return SYNTHETIC[kind]
    for base in getattr(TASKS.get(kind), '__mro__', ()):
        if base.__name__ in SYNTHETIC:
            return SYNTHETIC[base.__name__]
    raise ValueError(f'the check has no synthetic data for the task {kind}: add a function to zoo.checks.SYNTHETIC.')


#: where a network's config names weights, and the kinds of values that do so
WEIGHTS = {'checkpoint': (str, dict), 'pretrained': (str, bool), 'weights': str}


def _lighten(value: object) -> None:
    """Take every network's weights away and cut banks of negatives, in place."""
    if isinstance(value, dict):
        for name, kinds in WEIGHTS.items():
            if 'type' in value and isinstance(value.get(name), kinds):
                value.pop(name)
        if 'num_negatives' in value:
            value['num_negatives'] = min(value['num_negatives'], NEGATIVES)
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _lighten(entry)


def _fit_distillers(config: Config) -> None:
    """Methods whose layers are as wide as the batch get the batch of a step."""
    for distiller in config.model.get('distillers', []):
        if 'batch_size' in inspect.signature(DISTILLERS.get(distiller.type)).parameters:
            distiller.batch_size = config.train_dataloader.batch_size


def _allow_random_teachers(model: Config) -> None:
    teachers = [model.get('teacher'), *(model.get('teachers') or [])]
    for teacher in teachers:
        if isinstance(teacher, dict):
            teacher['untrained'] = True


def tiny_step(path: Path, work_dir: Path, side: int | None = SIDE) -> None:
    """Build a config on synthetic data and run it for one epoch of two batches, with its evaluation and release.

    Raises:
        Exception: whatever the config's parts raise.
    """
    from zoo.engine import Runner, prepare_config
    config = Config.fromfile(path)
    kind = config.get('task', config.model.get('task', {})).get('type', 'Classification')
    synthetic_data(kind)(config, side)
    _lighten(config.model)
    _allow_random_teachers(config.model)
    _fit_distillers(config)
    limit = 'max_iters' if 'max_iters' in config.train_cfg else 'max_epochs'
    config.train_cfg[limit] = 1
    config.default_hooks = {**config.get('default_hooks', {}), 'checkpoint': None}
    Runner.from_cfg(prepare_config(config, work_dir=str(work_dir))).train()


def one_line(error: BaseException) -> str:
    """The error's class and the first line of its message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0][:300]}' if lines else type(error).__name__


#: how :func:`try_step` begins what is no error
SKIPPED = 'skipped: '


def try_step(path: Path) -> tuple[str | None, float]:
    """Whether :func:`tiny_step` works, on shrunk images or else on the task's own size: the error (or, after ``skipped:``,
    the package that is not installed) or None, and seconds."""
    torch.set_num_threads(1)
    start, error = time.perf_counter(), None
    for side in (SIDE, None):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            try:
                tiny_step(path, Path(folder), side)
                return None, time.perf_counter() - start
            except MissingPackageError as missing:
                return f'{SKIPPED}{missing}', time.perf_counter() - start
            except Exception as caught:
                error = one_line(caught)
    return error, time.perf_counter() - start


def check_steps(paths: list[Path], root: Path = ROOT, processes: int = 1,
                seconds: dict[Path, float] | None = None) -> Iterator[Problem]:
    """A training step of each config, in ``processes`` processes; ``seconds`` takes up how long each took."""
    def results():
        if processes < 2 or len(paths) < 2:
            yield from map(try_step, paths)
            return
        with ProcessPoolExecutor(processes, mp_context=get_context('spawn')) as pool:
            yield from pool.map(try_step, paths)
    for path, (error, spent) in zip(paths, results()):
        if seconds is not None:
            seconds[path] = spent
        if error is not None and error.startswith(SKIPPED):
            print(f'{path.relative_to(root)}: {error}', file=sys.stderr)
        elif error is not None:
            yield Problem(str(path.relative_to(root)), f'takes no training step: {error}')


def check_all(root: Path = ROOT, pattern: str | None = None, *, steps: bool = True, processes: int = 1,
              seconds: dict[Path, float] | None = None) -> Iterator[Problem]:
    """All checks of a checkout, the quick ones first.

    Args:
        pattern: glob or substring of the configs that take a step.
        steps: False leaves the training steps out.
        processes: for the training steps.
        seconds: takes up how long the step of each config took.
    """
    configs, problems = read_configs(config_files(root), root)
    yield from problems
    yield from check_methods(copy.copy(configs), root)
    yield from check_readme(root)
    yield from check_files(root)
    if steps:
        readable = [path for path in config_files(root, pattern) if path in configs]
        if not readable:
            yield Problem('configs', f'none fits {pattern!r}.')
        yield from check_steps(readable, root, processes, seconds)
