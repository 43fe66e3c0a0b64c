"""From a config file to a finished run."""
import json
import logging
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table

from zoo.registry import UnknownNameError, near_names, unknown_option
from zoo.tasks import NonFiniteLossError

from .runner import Runner

#: what a config says of the validation and of the test set
EVALUATION = ('dataloader', 'cfg', 'evaluator')
#: what a user can put right; tools print these in one sentence, without a traceback
USER_ERRORS = (OSError, UnknownNameError, ValueError, NonFiniteLossError)


def _plain_warning(message, category, filename, lineno, line=None) -> str:
    place = '' if issubclass(category, UserWarning) else f'{filename}:{lineno}: {category.__name__}, '
    return f'{place}warning: {message}\n'


def exit_status(work: Callable[[], int | None]) -> int:
    """Do a tool's work; 1 with one sentence where the user can put right what went wrong (:data:`USER_ERRORS`, a config's
    option that its type does not take), else what ``work`` returns, or 0."""
    try:
        return work() or 0
    except (*USER_ERRORS, TypeError) as error:
        said = unknown_option(error) if isinstance(error, TypeError) else str(error)
        if said is None or os.environ.get('ZOO_TRACEBACK'):
            raise
        if 'Original Traceback' in said:  # of a loader's worker: its last line is what was raised there
            said = said.rstrip().splitlines()[-1].partition(': ')[2]
        print(f'error: {said}\n(ZOO_TRACEBACK=1 shows where)', file=sys.stderr)
        return 1


def default_work_dir(config: str | os.PathLike) -> str:
    """``work_dirs/`` followed by the config's path below ``configs/``, without its ending."""
    parts = Path(config).with_suffix('').parts
    below = parts[len(parts) - parts[::-1].index('configs'):] if 'configs' in parts else parts[-1:]
    return str(Path('work_dirs', *below))


def prepare_config(config: str | os.PathLike | Config, *, work_dir: str | None = None, amp: str | None = None,
                   resume: str | None = None, seed: int | None = None, launcher: str = 'none',
                   options: dict | None = None) -> Config:
    """Read a config and settle what the command line says.

    Args:
        config: a file (its folder and the current one may hold modules for ``custom_imports``), or a Config.
        work_dir: by default :func:`default_work_dir`.
        amp: ``'off'``, ``'fp16'`` or ``'bf16'``.
        resume: ``'auto'`` (the newest checkpoint of the work directory) or a path.
        seed: of everything random; the config's ``randomness``, else 0.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        options: overrides by dotted names.

    Raises:
        FileNotFoundError: for a missing config, with near ones.
    """
    warnings.formatwarning = _plain_warning  # to the user: without the line of code that noticed it
    if not isinstance(config, Config):
        path = Path(config)
        if not path.is_file():
            known = [str(p) for p in Path('configs').rglob('*.py') if '_base_' not in p.parts]
            close = near_names(str(path), known) or known[:5]
            raise FileNotFoundError(f'No config {path}. ' + (f'Did you mean {", ".join(close)}?' if close else ''))
        for folder in (str(path.resolve().parent), os.getcwd()):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        MMLogger.get_current_instance().setLevel(logging.WARNING)  # else a line for each environment variable that is read
        config = Config.fromfile(path)
    if options:
        config.merge_from_dict(options)
    config.default_scope = config.get('default_scope') or 'zoo'
    if 'model' not in config:
        raise ValueError(f'{config.filename} has no `model`.')
    if 'task' in config and config.model.get('type') == 'Distillation':
        config.model.setdefault('task', config.task)
    if config.get('data_preprocessor') is not None:
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    if amp is not None:
        config.optim_wrapper.amp = amp
    if 'optim_wrapper' in config:
        config.optim_wrapper.setdefault('constructor', 'OptimWrapperConstructor')
    config.launcher = launcher
    randomness = dict(config.get('randomness') or {})
    randomness['seed'] = seed if seed is not None else randomness.get('seed') or 0
    randomness.setdefault('diff_rank_seed', launcher != 'none')
    config.randomness = randomness
    config.work_dir = work_dir or config.get('work_dir') or default_work_dir(config.filename or 'run')
    if resume:
        config.resume = True
        config.load_from = None if resume == 'auto' else resume
    if not torch.cuda.is_available():
        config.setdefault('env_cfg', {})
        config.env_cfg['dist_cfg'] = dict(backend='gloo')
    for split in ('val', 'test'):  # the bases bring loops for sets that one's own data need not have
        if config.get(f'{split}_dataloader') is None:
            for kind in EVALUATION:
                config.pop(f'{split}_{kind}', None)
    return config


def train(config: Config) -> dict | None:
    """Train as a prepared config says; returns the run's record (on the main process).

    Raises:
        NonFiniteLossError: names the step, the term and the last good checkpoint.
    """
    runner = Runner.from_cfg(config)
    try:
        runner.train()
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f'{error} {last_checkpoint(runner.work_dir)}') from None
    finally:
        for hook in runner.hooks:
            if hasattr(hook, 'close'):
                hook.close()
    if not is_main_process():
        return None
    record = json.loads((Path(runner.work_dir) / 'record.json').read_text())
    print_summary(record, runner.work_dir)
    return record


def last_checkpoint(work_dir: str | os.PathLike) -> str:
    """One sentence on the newest checkpoint of a work directory."""
    note = Path(work_dir) / 'last_checkpoint'
    if note.is_file():
        return f'The last good checkpoint is {note.read_text().strip()}.'
    return 'No checkpoint had been written yet.'


def test(config: Config, checkpoint: str | None = None) -> dict:
    """Evaluate a checkpoint on the config's test set; returns the metrics (``per_class`` among them where they
    were found for each class).

    Args:
        config: as :func:`prepare_config` returns it.
        checkpoint: a training checkpoint, a released ``.safetensors`` file or plain weights of the student; None if the
            config's student has its own.

    A config without a test set is tested on its validation set; where it says only a part of a test set, the rest is the
    validation set's.

    Raises:
        FileNotFoundError, ValueError: if it is missing or does not fit the student; without data to test on.
    """
    from zoo.models import load_checkpoint
    if checkpoint is None and not any(config.model.student.get(k) for k in ('checkpoint', 'pretrained', 'weights')):
        raise ValueError('Nothing to test: give a CHECKPOINT, or set model.student.checkpoint.')
    if config.get('test_dataloader') is None:
        if config.get('val_dataloader') is None:
            raise ValueError('Nothing to test on: the config has neither test_dataloader nor val_dataloader.')
        print('The config has no test_dataloader: tested on its val_dataloader.')
    for kind in EVALUATION:
        if config.get(f'test_{kind}') is None:
            config[f'test_{kind}'] = config.get(f'val_{kind}')
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'val_dataloader', 'val_cfg',
                'val_evaluator'):
        config.pop(key, None)
    config.resume, config.load_from = False, None
    _leave_out_unscored_teacher(config)
    runner = Runner.from_cfg(config)
    if checkpoint is not None:
        load_checkpoint(runner.bare_model.student, checkpoint)
    metrics = runner.test()
    per_class = getattr(runner, 'per_class', None)
    return {**metrics, 'per_class': per_class} if per_class else metrics


def score_on_validation(config: Config) -> None:
    """Make the validation set of a config, on which runs are scored, what :func:`test` takes; in place."""
    for kind in EVALUATION:
        config[f'test_{kind}'] = config[f'val_{kind}']


def leave_out_teacher(config: Config) -> None:
    """Take the teacher, the distillers and what the student would inherit out of a config, to test a trained student."""
    config.model.teacher, config.model.distillers = None, []
    config.model.pop('inherit', None)
    config.model.student.pop('inherit', None)


def _leave_out_unscored_teacher(config: Config) -> None:
    """Detection and segmentation do not score the teacher, so that its weights need not be there for a test; methods that
    change the student by it keep it."""
    from zoo.distillers import Distiller
    from zoo.registry import DISTILLERS, TASKS
    task = (config.model.get('task') or {}).get('type')
    dense = isinstance(task, str) and getattr(TASKS.get(task), 'package', '') in ('mmdet', 'mmseg')
    if dense and all(DISTILLERS.get(d['type']).adapt_student is Distiller.adapt_student for d in
                     config.model.get('distillers') or []):
        leave_out_teacher(config)


def evaluate(config: str | os.PathLike, network: Mapping | None, checkpoint: str | os.PathLike | None, *,
             options: Mapping | None = None, split: str = 'val', sampler: Mapping | None = None) -> dict[str, float]:
    """Scores of a trained student without its teacher; nothing is written into the run's folder.

    Args:
        config: the run's config file.
        network: the network's config, such as a released file's ``build``; None for that of the config's student.
        checkpoint: its weights; None where the network's config names them.
        options: overrides of the config by dotted names.
        split: ``'val'``, what the run's log was measured on, or ``'test'`` (the validation set where there is no other).
        sampler: of a generator, in place of the config's.

    Raises:
        Exception: what :func:`prepare_config` and :func:`test` raise.
    """
    with tempfile.TemporaryDirectory(prefix='evaluate-') as folder:
        cfg = prepare_config(config, work_dir=folder, options=dict(options or {}))
        if split == 'val' and cfg.get('val_dataloader') is not None:
            score_on_validation(cfg)
        if network is not None:
            cfg.model.student = dict(network)
        leave_out_teacher(cfg)
        for task in (cfg.get('task'), cfg.model.get('task')) if sampler is not None else ():
            if task is not None:
                task.sampler = dict(sampler)
        cfg.custom_hooks, cfg.default_hooks = [], {**cfg.get('default_hooks', {}), 'checkpoint': None}
        metrics = test(cfg, None if checkpoint is None else str(checkpoint))
    return {key: float(value) for key, value in metrics.items() if isinstance(value, (int, float)) and math.isfinite(value)}


def print_summary(record: dict, work_dir: str | os.PathLike) -> None:
    """The run's record as a small table on standard output."""
    monitor, last, best = record['monitor'], record['last'], record['best']
    table = Table(title=f'{record["data"]}, {record["epochs"]} epochs, seed {record["seed"]}', show_header=False)
    rows = [('student', f'{record["student"].get("type")}, {record["student_parameters"]:,} parameters')]
    if record['teacher']:
        rows.append(('teacher', f'{record["teacher"].get("type")}, {record["teacher_parameters"]:,} parameters'))
    rows.append(('distillers', ', '.join(d['type'] for d in record['distillers']) or 'none'))
    if last:
        digits = 4 if monitor.startswith('coco/') else 2  # mmdet counts from 0 to 1
        rows.append((f'{monitor}, last epoch', f'{last.get(monitor, float("nan")):.{digits}f}'))
        rows.append((f'{monitor}, best epoch', f'{best.get(monitor, float("nan")):.{digits}f} (epoch {best["epoch"]})'))
        for key in ('agreement', 'ece'):
            if key in last:
                rows.append((key, f'{last[key]:.4g}'))
    rows.append(('training time', f'{record["train_seconds"]:.1f} s, {record["images_per_second"]:.0f} images/s, '
                                  f'{record["amp"]}, {record["hardware"]}'))
    rows.append(('written', f'{work_dir}/record.json, student.safetensors'))
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
