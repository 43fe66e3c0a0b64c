"""Many methods, one pair, one budget, several seeds: runs that can be broken off, and one table.

The base config holds everything that the methods share: data, schedule, teacher, student. A method brings its losses, their
weights and the views they read, and nothing else. Every run is a process of its own in ``<out>/<method>/seed<k>``.
"""
import ast
import copy
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

import zoo
from zoo.registry import UnknownNameError, unknown

from .budget import set_epochs
from .hooks import plain_config
from .launch import prepare_config, score_on_validation, test

ROOT = Path(zoo.__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs' / 'classification'
#: folders of the methods' configs by the type of the task
FOLDERS = {'Classification': 'classification', 'Detection': 'detection', 'Segmentation': 'segmentation'}
#: teachers that no other serves for: a method whose config has one brings it along
OWN_TEACHERS = ('LabelAssistedSegmentor',)
TRAIN = ROOT / 'tools' / 'train.py'
NONE = 'none'
NOTE = 'sweep_run.json'  #: what the sweep knows of a run, beside its record
#: options of distillers that count epochs under another name
EPOCH_OPTIONS = ('num_loops',)


@dataclass(frozen=True)
class Method:
    """A row of the table: ``label`` as it was asked for, ``slug`` of the method, its config (None for the student alone)."""
    label: str
    slug: str
    config: Path | None

    @property
    def folder(self) -> str:
        return self.label.replace(':', '-')


@dataclass(frozen=True)
class Job:
    """One run."""
    method: Method
    seed: int
    config: Config
    work_dir: Path
    fingerprint: str


# ---- which methods, and what is taken over from them

def _flat(name: str) -> str:
    return re.sub(r'[^a-z0-9]', '', name.lower())


def _ranked(slug: str, dataset: str, configs: Path) -> list[tuple[str, Path]]:
    """``(suffix, file)`` of a method's configs: those of the base's own data (``CamVid-480x360``, then ``CamVid``) first, then
    CIFAR-100, then digits and scenes of digits."""
    found = []
    for path in sorted((configs / slug).glob('*.py')):
        words = path.stem.split('_')
        spans = [(i, j) for i in range(1, len(words)) for j in range(i + 1, len(words) + 1)]
        known = dict.fromkeys((_flat(dataset), _flat(dataset.partition('-')[0]), 'cifar100', 'digits', 'digitscenes'))
        for rank, data in enumerate(known):
            span = next(((i, j) for i, j in spans if data and _flat(''.join(words[i:j])) == data), None)
            if span is not None:
                # the pair that most papers report comes first among several
                unusual = '_'.join(words[:span[0]]) != 'resnet32x4_resnet8x4'
                found.append((rank, unusual, path.stem, '_'.join(words[span[1]:]), path))
                break
        else:
            found.append((9, True, path.stem, path.stem, path))
    return [(suffix, path) for *_, suffix, path in sorted(found, key=lambda entry: entry[:3])]


def methods_folder(base: Config) -> Path:
    """The folder of the methods' folders for the task of a base.

    Raises:
        ValueError: for a task that sweeps do not compare.
    """
    task = base.task.get('type')
    if task not in FOLDERS:
        raise ValueError(f'A sweep compares runs of {", ".join(FOLDERS)}; the task of the base is {task}'
                         + (': see tools/compare_generators.py.' if task == 'Diffusion' else '.'))
    return CONFIGS.parent / FOLDERS[task]


def find_method(name: str, dataset: str = '', configs: Path = CONFIGS) -> list[Method]:
    """The config behind ``none``, ``slug`` or ``slug:suffix``.

    Args:
        name: ``dkd`` takes ``<slug>/*_<dataset>.py`` where there is one, else ``*_cifar100.py``, else ``*_digits.py``;
            ``ctkd:dkd`` takes ``*_cifar100_dkd.py`` (in the same order), or the file of exactly that name.
        dataset: the base's ``dataset_name``.
        configs: folder of the methods' folders.

    Returns:
        One method; several where a slug has no plain config, only variants.

    Raises:
        UnknownNameError: for a slug that is no method, or a suffix that no config has, with near names.
        FileNotFoundError: for a method without a config.
    """
    from zoo.distillers import METHODS
    if name == NONE:
        return [Method(NONE, NONE, None)]
    slug, _, suffix = name.partition(':')
    if slug not in METHODS:
        raise UnknownNameError(unknown('method', slug, [*METHODS, NONE]))
    ranked = _ranked(slug, dataset, configs)
    if not ranked:
        raise FileNotFoundError(f'The method {slug} has no config in {configs / slug}: write one, or leave it out.')
    if suffix:
        for own, path in ranked:
            if suffix in (own, path.stem):
                return [Method(name, slug, path)]
        raise UnknownNameError(unknown(f'variant of {slug}', suffix, [s for s, _ in ranked if s] or
                                       [p.stem for _, p in ranked]))
    plain = next((path for own, path in ranked if not own), None)
    if plain is not None:
        return [Method(slug, slug, plain)]
    first: dict[str, Path] = {}
    for own, path in ranked:
        first.setdefault(own, path)
    return [Method(f'{slug}:{own}', slug, path) for own, path in first.items()]


def find_methods(names: Sequence[str], *, everything: bool = False, dataset: str = '',
                 configs: Path = CONFIGS) -> tuple[list[Method], list[str]]:
    """The methods of a sweep, each once, in order, and the slugs that have no config (only with ``everything``).

    Args:
        names: see :func:`find_method`.
        everything: add ``none`` and all methods of :data:`zoo.distillers.METHODS`.
        dataset, configs: see :func:`find_method`.

    Raises:
        UnknownNameError, FileNotFoundError: see :func:`find_method`; for all wrong names at once.
        ValueError: if there is no name at all, or a slug stands for several variants.
    """
    from zoo.distillers import METHODS
    methods, wrong, without = [], [], []
    for name in names:
        try:
            found = find_method(name, dataset, configs)
            if len(found) > 1:
                raise ValueError(f'{name} has only variants: write {" or ".join(m.label for m in found)}.')
            methods += found
        except (UnknownNameError, FileNotFoundError, ValueError) as error:
            wrong.append(error)
    if wrong:
        raise type(wrong[0])(' '.join(map(str, wrong)))
    for slug in [NONE, *sorted(METHODS)] if everything else []:
        try:
            methods += find_method(slug, dataset, configs)
        except FileNotFoundError:
            without.append(slug)
    methods = list({m.label: m for m in methods}.values())
    if not methods:
        raise ValueError(f'There is no method to run: give --methods {NONE} kd ..., or --all.')
    return methods, without


def _says(path: Path, name: str) -> bool:
    """Whether a config file itself, not its bases, sets ``name``."""
    nodes = ast.parse(path.read_text(encoding='utf-8')).body
    return any(isinstance(node, ast.Assign) and any(getattr(t, 'id', None) == name for t in node.targets) for node in nodes)


def scaled_epochs(value, factor: float):
    """A distiller's config with the options that count epochs (``*_epochs``, ``num_loops``) times ``factor``."""
    if isinstance(value, dict):
        result = {}
        for key, entry in value.items():
            counts = key.endswith('_epochs') or key in EPOCH_OPTIONS
            if counts and isinstance(entry, (int, float)) and not isinstance(entry, bool) and entry > 0:
                exact = entry * factor
                # a fractional warm-up is meant; stages and curricula are whole epochs
                entry = round(exact, 4) if key == 'warmup_epochs' and exact % 1 else max(1, round(exact))
            result[key] = scaled_epochs(entry, factor)
        return result
    if isinstance(value, (list, tuple)):
        return [scaled_epochs(entry, factor) for entry in value]
    return value


def method_config(base: Config, method: Method, *, scale_epochs: bool = True) -> Config:
    """A copy of the base with a method's losses.

    Taken over: ``model.distillers``, ``task.loss_weight``, ``train_dataloader.dataset.views``, where the method's own file sets
    it ``data_preprocessor.augment``, and a teacher of :data:`OWN_TEACHERS`. The student alone has no teacher and full weight on
    the labels.

    Args:
        base: with ``model.distillers`` empty.
        method: see :func:`find_method`.
        scale_epochs: options in epochs keep their share of the run (20 of 240 epochs become 0.42 of 5).
    """
    config = copy.deepcopy(base)
    if method.config is None:
        config.model.teacher, config.model.distillers = None, []
        config.merge_from_dict({'task.loss_weight': 1.0})
        return config
    own = Config.fromfile(method.config)
    distillers = plain_config(own.model.distillers)
    if scale_epochs and own.get('train_cfg', {}).get('max_epochs'):
        distillers = scaled_epochs(distillers, base.train_cfg.max_epochs / own.train_cfg.max_epochs)
    config.model.distillers = distillers
    config.merge_from_dict({'task.loss_weight': own.get('task', {}).get('loss_weight', 1.0)})
    if (own.model.get('teacher') or {}).get('type') in OWN_TEACHERS:
        config.model.teacher = copy.deepcopy(own.model.teacher)
    views = own.get('train_dataloader', {}).get('dataset', {}).get('views')
    if views:
        config.train_dataloader.dataset.views = plain_config(views)
    if _says(method.config, 'data_preprocessor') and 'augment' in own.data_preprocessor:
        config.data_preprocessor.augment = plain_config(own.data_preprocessor.augment)
    return config


def load_base(path: str | os.PathLike, *, epochs: int | None = None, options: dict | None = None) -> Config:
    """The config that all runs of a sweep share.

    Raises:
        FileNotFoundError: for a missing file, with near ones.
        ValueError: if it has distillers of its own, or lacks teacher, student or task.
    """
    config = Config.fromfile(prepare_config(path).filename)
    if options:
        config.merge_from_dict(options)
    if epochs is not None:
        set_epochs(config, epochs)
    model = config.model
    if model.get('distillers'):
        raise ValueError(f'{path} has model.distillers of its own; a base of a sweep has none, the methods bring theirs.')
    missing = [key for key in ('teacher', 'student') if not model.get(key)] + ([] if config.get('task') else ['task'])
    if missing:
        raise ValueError(f'{path} lacks {" and ".join(missing)}: a base of a sweep has data, schedule, teacher, student '
                         'and task.')
    return config


# ---- runs

def weights_of(network: dict) -> Path | None:
    """The file of a network's weights, also of those that come with the zoo (``zoo://name``), or None."""
    path = network.get('checkpoint')
    path = path.get('path') if isinstance(path, dict) else path
    if str(path).startswith('zoo://'):
        from zoo.hub import checkpoint_path
        return Path(checkpoint_path(str(path).removeprefix('zoo://')))
    return Path(path) if path and Path(path).is_file() else None


def fingerprint(config: Config, seed: int) -> str:
    """A hash of everything in the config that changes a result, the bytes of the teacher's weights included."""
    facts = plain_config(config._cfg_dict.to_dict())
    for key in ('work_dir', 'resume', 'load_from', 'launcher', 'randomness', 'default_hooks', 'visualizer', 'env_cfg'):
        facts.pop(key, None)
    digest = hashlib.sha256(json.dumps([facts, seed], sort_keys=True).encode())
    for network in (config.model.get('teacher'), config.model.get('student')):
        path = weights_of(network) if network else None
        if path is not None:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def plan(base: Config, methods: Sequence[Method], seeds: Sequence[int], out: str | os.PathLike, *,
         scale_epochs: bool = True) -> list[Job]:
    """All runs, seed by seed, so that a sweep that is broken off has compared all methods on fewer seeds."""
    jobs = []
    configs = {m.label: method_config(base, m, scale_epochs=scale_epochs) for m in methods}
    for seed in dict.fromkeys(seeds):
        for method in methods:
            work_dir = Path(out) / method.folder / f'seed{seed}'
            config = configs[method.label]
            jobs.append(Job(method, seed, config, work_dir, fingerprint(config, seed)))
    return jobs


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, json.JSONDecodeError):
        return {}


def finished(job: Job) -> bool:
    """Whether the run is done, with this very config."""
    return (_read(job.work_dir / NOTE).get('fingerprint') == job.fingerprint
            and bool(_read(job.work_dir / 'record.json')) and (job.work_dir / 'student.safetensors').is_file())


def _prepare_folder(job: Job) -> None:
    """Keep what can be continued; take away what another config left, if it was a sweep's."""
    folder = job.work_dir
    note = _read(folder / NOTE)
    if folder.is_dir() and any(folder.iterdir()) and note.get('fingerprint') != job.fingerprint:
        if not note:
            raise ValueError(f'{folder} is not empty and no sweep made it: choose another --out.')
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(job.config)
    config.work_dir = str(folder)
    config.dump(folder / 'config.py')
    _write_json(folder / NOTE, dict(fingerprint=job.fingerprint, status='started', method=job.method.label, seed=job.seed))


def _write_json(path: Path, value) -> None:
    partial = path.with_name(f'.{path.name}.part')
    partial.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
    os.replace(partial, path)


def _error_of(text: str, code: int) -> str:
    """The one sentence that says why a run failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    if said:
        return said[-1]
    if code < 0:
        return f'killed by signal {-code}' + (' (out of memory?)' if code == -9 else '')
    raised = [line for line in lines if re.match(r'[\w.]*(Error|Exception|Interrupt)\b', line)]
    return (raised or lines or [f'exit status {code}'])[-1]


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def places(processes: int | None = None) -> list[dict[str, str]]:
    """The environment of each process that runs at the same time: one a CUDA device, or ``processes`` (1) on the CPU.

    More processes than devices share the devices in turn. OMP_NUM_THREADS is the cores divided by the processes, unless
    it is set already.

    Raises:
        ValueError: for fewer than 1 process.
    """
    if processes is not None and processes < 1:
        raise ValueError(f'--processes is at least 1, not {processes}.')
    devices: list[str] = []
    if torch.cuda.is_available():
        seen = os.environ.get('CUDA_VISIBLE_DEVICES')
        devices = seen.split(',') if seen else [str(i) for i in range(torch.cuda.device_count())]
    count = processes or len(devices) or 1
    threads = os.environ.get('OMP_NUM_THREADS') or str(max(1, available_cores() // count))
    return [{'OMP_NUM_THREADS': threads, **({'CUDA_VISIBLE_DEVICES': devices[i % len(devices)]} if devices else {})}
            for i in range(count)]


class Runs:
    """Runs jobs in processes of their own, one at each place at a time; a run that fails does not stop the others."""

    def __init__(self, where: Sequence[dict[str, str]], say: Callable[[str], None] = print):
        self.where = list(where)
        self.say = say
        self.lock = threading.Lock()
        self.alive: set[subprocess.Popen] = set()
        self.stopping = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Run what is not finished.

        Raises:
            KeyboardInterrupt: after the running processes have been ended; a second call continues them.
            ValueError: if a run's folder holds something else.
        """
        todo = [job for job in jobs if not finished(job)]
        if len(todo) < len(jobs):
            self.say(f'{len(jobs) - len(todo)} of {len(jobs)} runs are finished already and skipped.')
        for job in todo:
            _prepare_folder(job)
        self.waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in todo:
            self.waiting.put(job)
        self.total, self.done, self.start = len(todo), 0, time.time()
        threads = [threading.Thread(target=self._work, args=(place,), daemon=True) for place in self.where]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # with a limit, so that Ctrl-C is heard
        except BaseException:
            self.stop()
            raise

    def _work(self, place: dict[str, str]) -> None:
        while not self.stopping:
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._one(job, place)
            except Exception as error:  # the other runs go on
                self._note(job, 'failed', f'{type(error).__name__}: {error}')

    def _one(self, job: Job, place: dict[str, str]) -> None:
        command = [sys.executable, str(TRAIN), str(job.work_dir / 'config.py'), '--work-dir', str(job.work_dir),
                   '--resume', '--seed', str(job.seed)]
        # modules beside the base config (custom_imports) are not found from the dumped one's folder
        beside = str(Path(job.config.filename).resolve().parent) if job.config.filename else None
        path = os.pathsep.join(p for p in (str(ROOT), os.getcwd(), beside, os.environ.get('PYTHONPATH')) if p)
        with (job.work_dir / 'output.log').open('w') as out, (job.work_dir / 'error.log').open('w') as err:
            with self.lock:
                if self.stopping:
                    return
                # a session of its own: Ctrl-C reaches the sweep alone, which then ends its runs in order
                process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                           env={**os.environ, **place, 'PYTHONPATH': path}, start_new_session=True)
                self.alive.add(process)
            code = process.wait()
        with self.lock:
            self.alive.discard(process)
        if self.stopping:
            return
        record = _read(job.work_dir / 'record.json')
        if code == 0 and record:
            self._note(job, 'finished')
        else:
            self._note(job, 'failed', _error_of((job.work_dir / 'error.log').read_text(errors='replace'), code))

    def _note(self, job: Job, status: str, error: str | None = None) -> None:
        if status == 'failed':  # a record of a failed run is none
            (job.work_dir / 'record.json').unlink(missing_ok=True)
        _write_json(job.work_dir / NOTE, dict(fingerprint=job.fingerprint, status=status, method=job.method.label,
                                              seed=job.seed, error=error))
        with self.lock:
            self.done += 1
            left = (time.time() - self.start) / self.done * (self.total - self.done)
            if status == 'finished':
                record = _read(job.work_dir / 'record.json')
                said = f'{record["monitor"]} {(record["last"] or {}).get(record["monitor"], float("nan")):.4g}'
            else:
                said = f'failed: {error}'
            self.say(f'[{self.done}/{self.total}] {job.method.label}, seed {job.seed}: {said} '
                     f'({max(left, 0) / 60:.1f} min left)')

    def stop(self) -> None:
        """End the running processes; each has its last epoch's checkpoint."""
        with self.lock:
            self.stopping = True
            running = list(self.alive)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# ---- the teacher, and what the student alone agrees with

def _for_test(base: Config, **model) -> Config:
    config = copy.deepcopy(base)
    for key, entry in model.items():
        config.model[key] = entry
    score_on_validation(config)
    return config


def measure_teacher(base: Config, out: str | os.PathLike) -> dict[str, float]:
    """The teacher's own scores on the set that the sweep's runs are scored on, measured once and kept in ``<out>/teacher``.

    Returns:
        The metrics, and ``parameters``; only the latter for a teacher with ``untrained=True``.

    Raises:
        FileNotFoundError, ValueError: if the teacher has no weights.
    """
    from zoo.models import build_network
    folder = Path(out) / 'teacher'
    config = _for_test(base, student=copy.deepcopy(base.model.teacher), teacher=None, distillers=[])
    untrained = config.model.student.pop('untrained', False)
    key = fingerprint(config, 0)
    known = _read(folder / 'scores.json')
    if known.get('fingerprint') == key:
        return known['scores']
    if not untrained and not any(config.model.student.get(k) for k in ('checkpoint', 'pretrained', 'weights')):
        raise ValueError('The teacher of the base config has no weights: set model.teacher.checkpoint=PATH by '
                         '--cfg-options.')
    path = config.model.student.get('checkpoint')
    path = path.get('path') if isinstance(path, dict) else path
    if path and not str(path).startswith('zoo://') and not Path(path).is_file():
        parts = Path(path).parts
        first = f' Train it first: python tools/train.py {Path("configs", *parts[1:-1])}.py (or' \
            if parts[:1] == ('work_dirs',) else ' ('
        raise FileNotFoundError(f'The teacher has no weights: there is no {path}.{first} set '
                                'model.teacher.checkpoint=PATH by --cfg-options).')
    network = build_network(dict(config.model.student), num_classes=config.task.num_classes)
    parameters = sum(p.numel() for p in network.parameters())
    if untrained:  # other random weights in every process: there is nothing to measure
        return dict(parameters=parameters)
    scores = test(prepare_config(config, work_dir=str(folder), seed=0))
    scores = {k: float(v) for k, v in scores.items() if isinstance(v, (int, float))}
    scores['parameters'] = parameters
    _write_json(folder / 'scores.json', dict(fingerprint=key, scores=scores))
    return scores


def measure_agreement(base: Config, job: Job) -> float | None:
    """How often the student alone and the teacher choose the same class on the test set, in percent; kept with the run.

    None where nothing of the kind is measured: in detection and segmentation, and under an untrained teacher."""
    if base.task.type != 'Classification':
        return None
    path = job.work_dir / 'agreement.json'
    known = _read(path)
    key = hashlib.sha256((job.fingerprint + fingerprint(base, 0)).encode()).hexdigest()[:16]
    if known.get('fingerprint') == key:
        return known['agreement']
    if not any(base.model.teacher.get(k) for k in ('checkpoint', 'pretrained', 'weights')):
        return None  # an untrained teacher is another one in every process
    config = prepare_config(_for_test(base), work_dir=str(job.work_dir / 'agreement'), seed=job.seed)
    agreement = test(config, str(job.work_dir / 'student.safetensors')).get('agreement')
    if agreement is not None:
        _write_json(path, dict(fingerprint=key, agreement=float(agreement)))
    return agreement


def collect(jobs: Sequence[Job]) -> dict[str, dict]:
    """What the runs left: by label ``slug``, ``records`` (seed to record) and ``errors`` (seed to a sentence).

    A run that never came to its end is in neither.
    """
    found: dict[str, dict] = {}
    for job in jobs:
        entry = found.setdefault(job.method.label, dict(slug=job.method.slug, records={}, errors={}))
        note = _read(job.work_dir / NOTE)
        if finished(job):
            entry['records'][job.seed] = _read(job.work_dir / 'record.json')
        elif note.get('fingerprint') == job.fingerprint and note.get('status') == 'failed':
            entry['errors'][job.seed] = note.get('error') or 'no reason given'
    return found
