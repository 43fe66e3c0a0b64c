"""Drawing images with diffusion teachers and students, side by side and with numbers."""
import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from PIL import Image, ImageDraw
from torch import Tensor, nn

from zoo.diffusion import (
    AdaptiveCollaboration,
    Denoiser,
    adaptive_thresholds,
    average_steps,
    refinement_steps,
    rollback,
    sample,
)
from zoo.metrics.generated import FeatureNetwork, generation_scores
from zoo.models import build_network, load_checkpoint
from zoo.models.checkpoint import read_state_dict
from zoo.models.released import save_released
from zoo.registry import DATASETS, MODELS, TASKS

from .checkpoint import load_training_checkpoint
from .launch import prepare_config


def load_weights(network: nn.Module, checkpoint: str | os.PathLike, *, average: bool = True) -> None:
    """Weights of a released student, a training checkpoint or a plain file.

    Args:
        average: of a training checkpoint, take the student's average where it has one; False takes the student itself.

    Raises:
        FileNotFoundError, ValueError: if it is missing or does not fit.
    """
    path = str(checkpoint)
    if path.endswith('.pth') and Path(path).is_file():
        content = load_training_checkpoint(path)
        if average and 'ema' in content:
            load_checkpoint(network, content['ema']['state_dict'], prefix='module')
            return
        load_checkpoint(network, content['state_dict'], prefix='student')
        return
    state = read_state_dict(path)
    load_checkpoint(network, state, prefix='student' if any(key.startswith('student.') for key in state) else None)


def release_checkpoint(config: str | os.PathLike | Config, checkpoint: str | os.PathLike, out: str | os.PathLike, *,
                       average: bool = True) -> Path:
    """Write the student of a training checkpoint (its average where it has one) as a released file, as the end of a run does.

    Args:
        average: False for the student itself.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint is missing or does not fit the config's student.
    """
    config = prepare_config(config)
    task = config.get('task') or config.model.get('task') or {}
    student = dict(config.model.student)
    student.pop('checkpoint', None)
    network = build_network(student, num_classes=task.get('num_classes'))
    meta = load_training_checkpoint(checkpoint)['meta']
    load_weights(network, checkpoint, average=average)
    preprocess = dict(input_shape=list(task.get('input_shape', ())))
    for key in ('mean', 'std'):
        if config.get('data_preprocessor', {}).get(key) is not None:
            preprocess[key] = [float(value) for value in config.data_preprocessor[key]]
    return save_released(network, out, preprocess=preprocess, facts=dict(
        config=str(config.filename or ''), checkpoint=Path(checkpoint).name, epochs=meta.get('epoch'), seed=meta.get('seed')))


class Generator:
    """A network of a config, ready to draw.

    Args:
        config: file or Config of the task Diffusion.
        checkpoint: of the student; None takes what the config names.
        side: ``'student'``, or ``'teacher'`` of a distillation's config.
        options: overrides by dotted names.

    Raises:
        ValueError: if the config is no diffusion config, or there are no weights.
    """

    def __init__(self, config: str | os.PathLike | Config, checkpoint: str | os.PathLike | None = None, *,
                 side: str = 'student', options: dict | None = None, device: str | None = None):
        self.config = prepare_config(config, options=options)
        task = self.config.get('task') or self.config.model.get('task') or {}
        if task.get('type') != 'Diffusion':
            raise ValueError(f'{self.config.filename} is no diffusion config: its task is {task.get("type")}.')
        self.task = TASKS.build(task)
        cfg = self.config.model.get(side)
        if cfg is None:
            raise ValueError(f'{self.config.filename} has no model.{side}.')
        if checkpoint is None and not any(cfg.get(key) for key in ('checkpoint', 'pretrained')):
            raise ValueError(f'Nothing to draw with: give a CHECKPOINT, or set model.{side}.checkpoint.')
        cfg = dict(cfg)
        if checkpoint is not None:
            cfg.pop('checkpoint', None)
        network = build_network(cfg, num_classes=self.task.num_classes)
        if checkpoint is not None:
            load_weights(network, checkpoint)
        self.device = torch.device(device or get_device())
        with torch.no_grad():
            self.denoiser = Denoiser(network.to(self.device).eval())
        self.sampler = dict(self.task.sampler) if side == 'student' else dict(type='ddim', steps=50)

    def noise(self, count: int, seed: int = 0) -> Tensor:
        """``(count, C, H, W)`` on the CPU; the first ones do not depend on ``count``."""
        generator = torch.Generator()
        return torch.stack([torch.randn(self.task.input_shape, generator=generator.manual_seed(seed * 1_000_003 + index))
                            for index in range(count)])

    def labels(self, count: int, wanted: Sequence[int] | None = None) -> Tensor | None:
        """``wanted``, or all classes, going round; None without classes.

        Raises:
            ValueError: for labels beyond the classes.
        """
        classes = self.task.num_classes
        if classes is None:
            if wanted:
                raise ValueError('This model has no classes: leave --labels out.')
            return None
        wanted = list(wanted) if wanted else list(range(classes))
        if not all(0 <= label < classes for label in wanted):
            raise ValueError(f'Labels lie in 0..{classes - 1}; got {wanted}.')
        return torch.tensor(wanted)[torch.arange(count) % len(wanted)]

    def __call__(self, noise: Tensor, condition: Tensor | None = None, *, steps: int | None = None, sampler: str | None = None,
                 guidance_scale: float | None = None, seed: int = 0, batch_size: int = 100,
                 advance: Callable[[int], None] | None = None, generator: torch.Generator | None = None, **settings) -> Tensor:
        """Images ``(N, C, H, W)`` in -1..1 on the CPU; what is None is as the config's ``task.sampler`` says."""
        chosen = dict(self.sampler) if sampler in (None, self.sampler['type']) else dict(type=sampler, steps=50)
        if steps is not None:
            chosen['steps'] = steps
        if guidance_scale is not None:
            chosen['guidance_scale'] = guidance_scale
        chosen.update(settings)
        kind = chosen.pop('type')
        generator = generator or torch.Generator().manual_seed(seed)
        parts = []
        for i in range(0, len(noise), batch_size):
            part = noise[i:i + batch_size]
            given = None if condition is None else condition[i:i + batch_size].to(self.device)
            images = sample(self.denoiser, part.to(self.device), given, sampler=kind, generator=generator,
                            advance=partial(_tell, advance, len(part)), **chosen)
            parts.append(images.float().cpu())
        return torch.cat(parts)

    def steps(self, steps: int | None = None) -> int:
        """Steps an image."""
        return self.sampler.get('steps', 50) if steps is None else steps


def _tell(advance: Callable[[int], None] | None, size: int, count: int) -> None:
    if advance is not None:
        advance(size * count)


def collaboration(config: str | os.PathLike | Config, checkpoint: str | os.PathLike | None, *, seed: int = 0,
                  options: dict | None = None) -> tuple[Generator, AdaptiveCollaboration, dict]:
    """Student, teacher and estimator of a config with ``collaboration``, calibrated.

    The estimator is a classifier: the logarithm of the probability that it gives the class that was asked for. Prompts are
    tensors of labels. The teacher is the config's ``model.teacher`` with DDIM.

    Returns:
        The student's generator; the collaboration, ``(labels, generator) -> dict``; facts: ``threshold``, ``percentile``,
        ``student_steps``, ``teacher_steps`` (those that are run).
    """
    student = Generator(config, checkpoint, options=options)
    wanted = dict(student.config.collaboration)
    teacher = Generator(student.config, side='teacher')
    features = feature_network(wanted.pop('estimator'))
    percentile, count = wanted.pop('percentile', 50), wanted.pop('calibration', 500)
    guidance = wanted.pop('guidance_scale', None)
    schedule = teacher.denoiser
    given: list[Tensor] = []  # the noise of the next call, where the caller has some

    def draw(labels, generator=None):
        noise = given.pop() if given else torch.randn(len(labels), *student.task.input_shape, generator=generator)
        return student(noise, labels, generator=generator)

    def estimate(labels, images):
        logits = features(images)[1]
        return logits.log_softmax(1).gather(1, labels[:, None])[:, 0]

    def refine(labels, images=None, *, steps, strength=None, generator=None):
        if images is None:
            noise = torch.randn(len(labels), *student.task.input_shape, generator=generator)
            return teacher(noise, labels, steps=steps, guidance_scale=guidance, generator=generator)
        counts = refinement_steps(torch.tensor([steps]), torch.tensor([strength]))
        total, run = int(counts['total']), int(counts['executed'])
        begin = schedule.schedule.snap(torch.tensor(run / total, dtype=torch.float64))
        alpha, sigma = schedule.alpha_sigma(begin)
        noise = torch.randn(images.shape, generator=generator)
        start = rollback(images, noise, alpha.expand(len(images)), sigma.expand(len(images)))
        return teacher(start, labels, steps=run, guidance_scale=guidance, generator=generator, begin=float(begin))
    own = torch.Generator().manual_seed(seed + 1_000_000)
    labels = student.labels(count)
    if labels is None:
        raise ValueError('`collaboration` of this tool judges images by the class that was asked for; the model has none.')
    scores = estimate(labels, draw(labels, own))
    threshold = adaptive_thresholds(scores, percentiles=(percentile,))[0].item()
    team = AdaptiveCollaboration(draw, refine, estimate, threshold=threshold, **wanted)
    executed = team.teacher_steps
    if team.strategy == 'refine':
        executed = int(refinement_steps(torch.tensor([team.teacher_steps]), torch.tensor([team.strength]))['executed'])
    facts = dict(threshold=threshold, percentile=percentile, student_steps=student.steps(), teacher_steps=executed)
    team.given_noise = given
    return student, team, facts


def feature_network(metric: dict) -> FeatureNetwork:
    """The classifier of a GenerationMetric's config (``type``, ``name`` and ``k`` are left out)."""
    return FeatureNetwork(**{key: value for key, value in metric.items() if key not in ('type', 'name', 'k', 'prefix')})


# ---- pictures

def draw_grid(images: Tensor, path: str | os.PathLike, *, columns: int | None = None, side: int = 56,
              rows: Sequence[str] = ()) -> Path:
    """Write images as one PNG.

    Args:
        images: ``(N, C, H, W)`` in -1..1, C of 1 or 3.
        columns: images a row; by default about a square.
        side: pixels of one image, enlarged without smoothing; a larger image keeps its size.
        rows: a name for each row, written in front of it.

    Raises:
        ValueError: for other channels (latents need their decoder first).
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f'Pictures have 1 or 3 channels, not {images.shape[1]}: decode latents first.')
    columns = columns or max(1, round(len(images) ** 0.5))
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    scale, gap = max(1, side // images.shape[-1]), 2
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    height, width = pixels.shape[2] + gap, pixels.shape[3] + gap
    left = 8 + 6 * max(map(len, rows)) if rows else 0
    lines = -(-len(pixels) // columns)
    canvas = Image.new('RGB', (left + columns * width - gap, lines * height - gap), 'white')
    for i, image in enumerate(pixels):
        picture = Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
        canvas.paste(picture, (left + i % columns * width, i // columns * height))
    pen = ImageDraw.Draw(canvas)
    for i, name in enumerate(rows):
        pen.text((4, i * height + height // 2 - 6), name, fill='black')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)
    return path


# ---- the table

@dataclass
class Row:
    """One row of the comparison: a model at a (mean) number of steps, and how it draws."""
    name: str
    steps: float
    fid: float
    precision: float
    recall: float
    accuracy: float | None
    images_per_second: float

    @property
    def title(self) -> str:
        """Name and steps."""
        return f'{self.name}, {number_of_steps(self.steps)} step{"" if self.steps == 1 else "s"}'


def number_of_steps(steps: float) -> str:
    """``'4'``, or ``'2.84'`` for a mean."""
    return f'{steps:g}' if float(steps).is_integer() else f'{steps:.2f}'


def reference_images(config: Config, count: int | None = None) -> Tensor:
    """The first images of the config's validation set, ``(N, C, H, W)`` in -1..1; None takes all that it has, also beyond its
    ``subset``."""
    dataset = dict(config.val_dataloader.dataset)
    dataset.pop('subset', None)
    dataset = DATASETS.build(dataset)
    preprocessor = MODELS.build(config.data_preprocessor)
    count = len(dataset) if count is None else min(count, len(dataset))
    parts = [preprocessor(dataset.__getitems__(part.tolist()), training=False)['images']
             for part in torch.arange(count).split(256)]
    return torch.cat(parts)


def compare(entries: Iterable[tuple[str, Callable[..., Tensor], int | float]], features: FeatureNetwork, real: Tensor,
            noise: Tensor, labels: Tensor | None, *, batch_size: int = 100,
            told: Callable[[Row], None] | None = None) -> tuple[list[Row], Tensor]:
    """Draw with every model from the same noise and judge it.

    Args:
        entries: ``(name, draw, steps)``, where ``draw(noise, labels, batch_size) -> images`` or, for a collaboration, also its
            mean steps: ``(images, steps)``.
        features: the judge.
        real: images in -1..1.
        noise: ``(N, C, H, W)``; labels: ``(N,)`` or None.
        told: called with each row when it is finished.

    Returns:
        The rows, and the first samples of each entry ``(rows, min(N, 10), C, H, W)``.
    """
    real_features, _ = features(real)
    rows, pictures = [], []
    for name, draw, steps in entries:
        draw(noise[:2], None if labels is None else labels[:2], batch_size)  # what a first call costs is not measured
        start = time.perf_counter()
        images = draw(noise, labels, batch_size)
        seconds = time.perf_counter() - start
        images, steps = images if isinstance(images, tuple) else (images, steps)
        found, logits = features(images)
        accuracy = None if labels is None else 100 * (logits.argmax(1) == labels).double().mean().item()
        row = Row(name, steps, **generation_scores(real_features, found), accuracy=accuracy,
                  images_per_second=len(images) / seconds)
        rows.append(row)
        pictures.append(images[:10])
        if told is not None:
            told(row)
    return rows, torch.stack(pictures)


def write_comparison(rows: Sequence[Row], folder: str | os.PathLike, *, features: str, facts: dict) -> str:
    """``comparison.md``, ``.csv`` and ``.json`` in a folder; returns the Markdown.

    Args:
        features: the name of the features, which the column of the Fréchet distance bears.
        facts: what else a reader must know (images, seed, hardware); a line each.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    head = ('Model', 'Steps', f'FID ({features})', 'Precision', 'Recall', 'Conditional accuracy, %', 'Images/s')
    lines = ['| ' + ' | '.join(head) + ' |', '| --- |' + ' ---: |' * (len(head) - 1)]
    for row in rows:
        accuracy = '–' if row.accuracy is None else f'{row.accuracy:.1f}'
        lines.append(f'| {row.name} | {number_of_steps(row.steps)} | {row.fid:.3g} | {row.precision:.3f} | {row.recall:.3f} | '
                     f'{accuracy} | {row.images_per_second:.4g} |')
    text = '\n'.join([*lines, '', *(f'- {key}: {value}' for key, value in facts.items())]) + '\n'
    (folder / 'comparison.md').write_text(text, encoding='utf-8')
    with (folder / 'comparison.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (folder / 'comparison.json').write_text(json.dumps(dict(features=features, **facts, rows=[asdict(row) for row in rows]),
                                                       indent=2), encoding='utf-8')
    return text


def team_draw(team: AdaptiveCollaboration, facts: dict, seed: int = 0) -> Callable[..., tuple[Tensor, float]]:
    """A collaboration as an entry of :func:`compare`; ``seed`` is that of the teacher's further noise."""
    def draw(noise, labels, batch_size):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for part, own in zip(noise.split(batch_size), labels.split(batch_size)):
            team.given_noise[:] = [part]
            parts.append(team(own, generator))
        needs = torch.cat([part['needs_teacher'] for part in parts])
        steps = average_steps(needs, student_steps=facts['student_steps'], teacher_steps=facts['teacher_steps'])
        return torch.cat([part['images'] for part in parts]), steps.item()
    return draw

