"""Checkpoints measured on this machine: scores by their own configs, parameters, FLOPs, latency; for ``tools/benchmark.py``.

What cannot be measured costs one sentence and stops nothing; a number that was not measured here is never said to be.
"""
import contextlib
import inspect
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.device import get_device
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.models import build_network
from zoo.names import architecture
from zoo.registry import MODELS

from .launch import evaluate, prepare_config

#: relative difference between a card's score and ours from which on a note says so
TOLERANCE = 1e-3
#: students as papers name them, of ImageNet, and timm's names
TIMM_NAMES = {
    'resnet18': 'resnet18', 'resnet34': 'resnet34', 'resnet50': 'resnet50', 'resnet101': 'resnet101', 'resnet152': 'resnet152',
    'mobilenetv1': 'mobilenetv1_100', 'mobilenetv2': 'mobilenetv2_100', 'efficientnetb0': 'efficientnet_b0',
    'deitt': 'deit_tiny_patch16_224', 'deitti': 'deit_tiny_patch16_224', 'deittiny': 'deit_tiny_patch16_224',
    'deits': 'deit_small_patch16_224', 'deitb': 'deit_base_patch16_224', 'vitt': 'vit_tiny_patch16_224',
    'vits': 'vit_small_patch16_224', 'vitb': 'vit_base_patch16_224', 'vitb/16': 'vit_base_patch16_224',
    'swint': 'swin_tiny_patch4_window7_224', 'resmlps12': 'resmlp_12_224', 'densenet121': 'densenet121',
    'tinyvit5m': 'tiny_vit_5m_224', 'tinyvit11m': 'tiny_vit_11m_224', 'tinyvit21m': 'tiny_vit_21m_224'}
#: data sets of papers whose images and classes are known: shape (C, H, W), classes
INPUTS = {'cifar10': ((3, 32, 32), 10), 'cifar100': ((3, 32, 32), 100), 'imagenet1k': ((3, 224, 224), 1000)}


@dataclass(frozen=True)
class Subject:
    """A checkpoint to be evaluated.

    Attributes:
        name: for messages.
        row: what is known of it, a row of ours as :func:`zoo.tables.compare` takes it.
        config: of its run; None if unknown, and then it cannot be evaluated.
        fetch: gives the checkpoint's path; may raise.
        network: the config that builds the student; None for that of ``config``.
        input_shape: ``(C, H, W)`` for FLOPs and latency; None for that of the config's task.
    """

    name: str
    row: dict
    config: str | None
    fetch: Callable[[], str | os.PathLike]
    network: Mapping | None = None
    input_shape: Sequence[int] | None = None


@dataclass
class Report:
    """Rows of ours, and sentences about what could not be measured or came out otherwise."""
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# ---- scores

@contextlib.contextmanager
def _quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# ---- what a network costs

def _example(net: nn.Module, input_shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """One image for ``forward``; with a time for a diffusion model."""
    device = next((p.device for p in net.parameters()), torch.device('cpu'))
    image = torch.zeros(1, *input_shape, device=device)
    timed = 'time' in inspect.signature(net.forward).parameters
    return (image, torch.full((1,), 0.5, device=device)) if timed else (image,)


def count_flops(net: nn.Module, input_shape: Sequence[int]) -> int:
    """Floating-point operations of one image: two for each multiplication with addition, in convolutions and matrix
    products (element-wise operations are not counted, as is usual).

    Args:
        input_shape: ``(C, H, W)``.
    """
    example = _example(net, input_shape)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net.eval()(*example)
    return counter.get_total_flops()


def measure_latency(net: nn.Module, input_shape: Sequence[int], *, seconds: float = 1.0, least: int = 10,
                    most: int = 200) -> float:
    """Median milliseconds of a forward pass of one image, in eval mode, float32, on the device of the network.

    Args:
        input_shape: ``(C, H, W)``.
        seconds: to measure for, after a warm-up.
        least, most: number of passes.
    """
    example = _example(net, input_shape)
    wait = torch.cuda.synchronize if example[0].device.type == 'cuda' else lambda: None
    times: list[float] = []
    net.eval()
    with torch.inference_mode():
        for _ in range(3):
            net(*example)
        begin = time.perf_counter()
        while len(times) < least or (len(times) < most and time.perf_counter() - begin < seconds):
            wait()
            start = time.perf_counter()
            net(*example)
            wait()
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def network_cost(network: Mapping, input_shape: Sequence[int], num_classes: int | None = None, *, latency: bool = True,
                 seconds: float = 1.0) -> dict:
    """``parameters``, ``flops``, ``input_shape`` and, where asked for, ``latency_ms`` of a network with random weights.

    Args:
        network: a config of MODELS.
        input_shape: ``(C, H, W)``.
        num_classes: where the config says none.
        latency: False builds the network without memory for its weights, where it can be built so.
        seconds: to measure the latency for.
    """
    network = _without_weights(network)
    with _quiet():
        if not latency:  # mmdet's and mmseg's read values as they are built, and need memory
            with contextlib.suppress(NotImplementedError), torch.device('meta'):
                return _cost(build_network(network, num_classes=num_classes), input_shape)
        net = build_network(network, num_classes=num_classes).to(get_device())
        cost = _cost(net, input_shape)
        if latency:
            cost['latency_ms'] = measure_latency(net, input_shape, seconds=seconds)
    return cost


def _cost(net: nn.Module, input_shape: Sequence[int]) -> dict:
    return dict(parameters=sum(p.numel() for p in net.parameters()), input_shape=tuple(input_shape),
                flops=count_flops(net, input_shape))


def _without_weights(network: Mapping) -> dict:
    return {key: value for key, value in dict(network).items()
            if not (key in ('checkpoint', 'pretrained') or (key == 'weights' and isinstance(value, str)))}


def papers_networks(rows: Iterable[Mapping], *, latency: bool = False, seconds: float = 1.0) -> dict[tuple[str, str], dict]:
    """What papers' students cost, where the zoo or timm has a network of that name.

    Args:
        rows: of :func:`zoo.tables.compare`.
        latency: also measure it, about a second each.

    Returns:
        (data set, student) as in the rows, to what :func:`network_cost` gives.
    """
    from zoo.tables.records import name_key
    zoos = {name_key(name): name for name in MODELS.names()}
    found: dict[tuple[str, str], dict] = {}
    costs: dict[str, dict | None] = {}
    for row in rows:
        data, student = name_key(row['dataset']), name_key(row['student'])
        if row['task'] != 'classification' or data not in INPUTS or not student:
            continue
        shape, classes = INPUTS[data]
        name = TIMM_NAMES.get(student) if data == 'imagenet1k' else zoos.get(student)
        if name is None:
            continue
        network = dict(type='TimmModel', model_name=name) if data == 'imagenet1k' else dict(type=name)
        key = f'{data} {name}'
        if key not in costs:
            try:
                costs[key] = network_cost(network, shape, classes, latency=latency, seconds=seconds)
            except Exception:  # timm without this network, or a network of the zoo that takes other images
                costs[key] = None
        if costs[key] is not None:
            found[row['dataset'], row['student']] = costs[key]
    return found


# ---- subjects

def subject_of_checkpoint(config: str | os.PathLike, checkpoint: str | os.PathLike) -> Subject:
    """A checkpoint of one's own: what is known of it comes from its config and the run's record beside it.

    Raises:
        FileNotFoundError: for a missing config, with near ones.
    """
    from zoo.tables.comparison import EVALUATED
    with _quiet():
        cfg = prepare_config(config)
    record = _record_of(checkpoint)
    student, teacher = cfg.model.get('student') or {}, cfg.model.get('teacher')
    data = cfg.get('dataset_name') or record.get('data') or ''
    subset = ((cfg.get('train_dataloader') or {}).get('dataset') or {}).get('subset')
    monitor = ((cfg.get('default_hooks') or {}).get('logger') or {}).get('monitor', record.get('monitor', 'top1'))
    task = cfg.model.get('task') or {}
    epochs = record.get('epochs') or (cfg.get('train_cfg') or {}).get('max_epochs')
    row = dict(
        origin='measured', how=EVALUATED, checkpoint=str(checkpoint), task=_task_name(config, task), metric=monitor,
        dataset=f'{data} ({subset:,} training images)' if subset else data, method='+'.join(_methods(cfg)), variant=None,
        teacher=architecture(teacher) if teacher else None, student=architecture(student), score=None, std=None, runs=1,
        seeds=[record['seed']] if 'seed' in record else None, last_score=(record.get('last') or {}).get(monitor),
        best_score=(record.get('best') or {}).get(monitor), teacher_score=None, alone=None, epochs=epochs,
        source=str(checkpoint))
    if str(checkpoint).startswith('zoo://'):
        row['checkpoint'] = str(checkpoint).removeprefix('zoo://')
    return Subject(str(checkpoint), row, str(config), lambda: checkpoint, input_shape=task.get('input_shape'))


def _record_of(checkpoint: str | os.PathLike) -> dict:
    path = Path(checkpoint)
    with contextlib.suppress(OSError, ValueError):
        return json.loads((path.parent / 'record.json').read_text(encoding='utf-8'))
    if path.suffix == '.safetensors' and path.is_file():
        from zoo.models.released import read_metadata
        with contextlib.suppress(ValueError):
            return read_metadata(path).get('facts', {})
    return {}


def _methods(cfg: Mapping) -> list[str]:
    from zoo.registry import DISTILLERS
    slugs = [DISTILLERS.get(d['type']).__module__.rpartition('.')[2] for d in cfg['model'].get('distillers') or []]
    return list(dict.fromkeys(slugs)) or ['none']


def _task_name(config: str | os.PathLike, task: Mapping) -> str:
    """As papers' tables say it, from the config's folder, else the type of the task."""
    parts = Path(config).resolve().parts
    folder = parts[parts.index('configs') + 1] if 'configs' in parts[:-2] else str(task.get('type', 'classification')).lower()
    return {'diffusion': 'generation', 'masked_images': 'masked images'}.get(folder, folder)


def shape_of_config(config: str | os.PathLike) -> tuple[dict, Sequence[int], int | None]:
    """Student, input shape ``(C, H, W)`` and number of classes of a config.

    Raises:
        FileNotFoundError, ValueError: for a missing or broken config, or a task without an input shape.
    """
    with _quiet():
        cfg = prepare_config(config)
    task = cfg.model.get('task') or {}
    if not task.get('input_shape'):
        raise ValueError(f'The task of {config} says no input_shape.')
    return dict(cfg.model.student), tuple(task['input_shape']), task.get('num_classes')


# ---- all together

def benchmark(subjects: Iterable[Subject], *, latency: bool = True, scores: bool = True, seconds: float = 1.0,
              options: Mapping | None = None, say: Callable[[str], None] = lambda text: None) -> Report:
    """Measure checkpoints one after the other.

    Args:
        subjects: what to measure.
        latency: False leaves it out.
        scores: False evaluates nothing, so that cards' numbers stand.
        seconds: to measure each latency for.
        options: overrides of the configs by dotted names.
        say: is told what comes next.

    Returns:
        A row for each subject that has a score: measured here, or else the card's, and then so marked.
    """
    report = Report()
    for subject in subjects:
        row = dict(subject.row)
        if scores:
            say(f'evaluating {subject.name} on {row["dataset"]} ...')
            _score(subject, row, report.notes, options)
        try:
            network, shape, classes = subject.network, subject.input_shape, None
            if network is None or shape is None:
                own, own_shape, classes = shape_of_config(subject.config)
                network, shape = network or own, shape or own_shape
            row.update(network_cost(network, shape, classes, latency=latency, seconds=seconds))
        except Exception as error:
            report.notes.append(f'{subject.name}: FLOPs{" and latency" if latency else ""} not measured: {one_line(error)}')
        if row['score'] is not None:
            report.rows.append(row)
    return report


def _score(subject: Subject, row: dict, notes: list[str], options: Mapping | None) -> None:
    from zoo.tables.comparison import EVALUATED
    stays = f' Its number is {row["how"]}.' if row['score'] is not None else ''
    try:
        if subject.config is None:
            raise ValueError('it names no config to evaluate it by.')
        path = subject.fetch()
        with _quiet():
            split = 'val' if row.get('split') == 'validation' else 'test'  # what the card's first score is of
            metrics = evaluate(subject.config, subject.network, path, options=options, split=split)
    except Exception as error:
        if os.environ.get('ZOO_TRACEBACK'):
            raise
        notes.append(f'{subject.name} was not evaluated: {one_line(error)}{stays}')
        return
    metric = row['metric']
    if metric not in metrics:
        notes.append(f'{subject.name} was not evaluated: its config measures {", ".join(metrics) or "nothing"}, not '
                     f'{metric}.{stays}')
        return
    said, found = row['score'], metrics[metric]
    if said is not None and abs(said - found) > TOLERANCE * max(abs(said), 1e-12):
        notes.append(f'{subject.name}: {metric} {found:.6g} here, {said:.6g} in its card.')
    row.update(score=found, how=EVALUATED)


def measured_students(rows: Iterable[dict], *, latency: bool = True, seconds: float = 1.0) -> None:
    """Add FLOPs and latency to rows of sweeps, in place, by the sweep's base config; rows without one stay as they are."""
    costs: dict[str, dict] = {}
    for row in rows:
        config = row.get('config')
        if not config:
            continue
        if config not in costs:
            try:
                network, shape, classes = shape_of_config(config)
                costs[config] = network_cost(network, shape, classes, latency=latency, seconds=seconds)
            except Exception:  # a base config that is gone, or of a network that is not installed: the number stands alone
                costs[config] = {}
        # some methods change the student (a new head): then its cost is another
        if costs[config] and row.get('parameters') in (None, costs[config]['parameters']):
            row.update(costs[config])


def one_line(error: BaseException) -> str:
    """An error in one sentence: its first line, with the class where that is no sentence of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:400] if lines else ''
    own = isinstance(error, (FileNotFoundError, ValueError, LookupError)) and ' ' in text
    text = text.strip('"\'') if isinstance(error, KeyError) else text
    text = text if own else f'{type(error).__name__}{f": {text}" if text else ""}'
    return text if text.endswith('.') else f'{text}.'


def machine() -> dict[str, object]:
    """Hardware, threads and versions that a latency depends on."""
    import zoo
    if torch.cuda.is_available():
        hardware = torch.cuda.get_device_name(0)
    else:
        hardware = f'{_processor()}, {os.cpu_count()} cores'
    return dict(hardware=hardware, threads=torch.get_num_threads(), torch=torch.__version__, python=platform.python_version(),
                zoo=zoo.__version__)


def busy() -> str | None:
    """A sentence where other programs take the processor's time, so that latencies come out too long; else None."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0
    if torch.cuda.is_available() or load <= cores + 0.5:
        return None
    return f'The machine was busy (load {load:.1f} on {cores} cores): latencies are too long, and not to be relied on.'


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            name = line.partition(':')[2].strip()
            if line.startswith('model name') and name and name != 'unknown':
                return name
    return platform.processor() or platform.machine() or 'CPU'
