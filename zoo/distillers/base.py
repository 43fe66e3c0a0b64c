"""The contract of a distiller.

A distiller is a loss that reads named taps of a teacher and a student. It is asked, in this order:

1. ``adapt_student`` / ``adapt_teacher``: replace or alter a network before anything is measured (a new head, a frozen
   classifier). What ``adapt_student`` returns *is* the student from then on: it is trained, evaluated and released.
2. ``build(shapes)``: make trainable parts (projectors, embeddings), with every tap's shape known from a dry run.
3. ``prepare(training_set)``: passes over the training set before training (class means, costs, banks).
4. ``forward(student, teacher, batch, progress)``, once a step: a dict of scalar terms.

Trainable parts and buffers of the distiller (an ``nn.Module``) are optimised, saved and resumed with the run, and never
reach the released student.
"""
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Needs:
    """What a distiller reads.

    Args:
        student, teacher: tap names (see :mod:`zoo.taps`): ``logits``, ``pooled``, ``final_map``, ``stages`` (the list
            of stage maps), ``stages.-1``, ``preact_stages``, ``feats.0``, a module path such as ``layer3.0`` or, for its
            input, ``fc:input``. ``logits@strong`` reads the tap on the batch's view ``strong``. For detection and
            segmentation see docs/dense.md.
        labels: hard labels ``(N,)`` are required.
        indices: positions of the samples in the data set are required.
        teacher_graph: the teacher's forward pass keeps its graph from the input on, so that gradients of its outputs
            with respect to its taps can be taken (its parameters still get none).
    """
    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    labels: bool = False
    indices: bool = False
    teacher_graph: bool = False

    @property
    def views(self) -> tuple[str, ...]:
        """The further views of the images that the taps name, without the ordinary one."""
        names = (name.partition('@')[2] for name in (*self.student, *self.teacher))
        return tuple(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True)
class Progress:
    """Where the run stands: ``epoch`` counts from 1, ``iteration`` (of the whole run) from 0."""
    epoch: int = 1
    epochs: int = 1
    iteration: int = 0
    iterations: int = 1

    def warmup(self, epochs: float) -> float:
        """``min(epoch / epochs, 1)``, never 0; 1 where ``epochs`` is 0."""
        return min(self.epoch / epochs, 1.0) if epochs else 1.0

    @property
    def fraction(self) -> float:
        """The finished share of the run's iterations, from 0 to below 1."""
        return self.iteration / max(self.iterations, 1)


@dataclass
class Batch:
    """One training batch on the device.

    Attributes:
        images: ``(N, C, H, W)`` float32, normalised.
        labels: ``(N,)`` int64, or ``(N, K)`` float where mixing made them soft, or None; in segmentation ``(N, H, W)`` int64.
        hard_labels: ``(N,)`` int64 before mixing, or None.
        indices: ``(N,)`` int64, the samples' positions in the data set, or None.
        views: further views of the same images by name, such as ``{'strong': (N, C, H, W)}``.
        extra: whatever else the data set gave; in detection and segmentation ``data_samples``, mmdet's or mmseg's.
    """
    images: Tensor
    labels: Tensor | None = None
    hard_labels: Tensor | None = None
    indices: Tensor | None = None
    views: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


Shape = torch.Size | list  # a list of shapes for a tap that is a list of maps


@dataclass(frozen=True)
class Shapes:
    """Shapes of all taps, found by a dry run; index 0 is the batch and carries no meaning.

    Attributes:
        student, teacher: tap name to ``torch.Size``, or to a list of them (``stages``); None for what exists only in a step
            with losses (``head.targets``).
        num_classes: of the task, or None where it has none.
        student_net, teacher_net: the networks, for the few methods that read a layer's weights
            (``teacher_net.classifier``); see :class:`zoo.taps.TapReader`.
        image_shape: ``(C, H, W)`` of the student's images.
        adapt_input: for a method with further networks: ``adapt_input(network, wanted)`` makes what turns the student's
            images into theirs (or None), ``wanted`` as in ``model.teacher.input``.
    """
    student: dict[str, Shape]
    teacher: dict[str, Shape]
    num_classes: int | None = None
    student_net: Any = None
    teacher_net: Any = None
    image_shape: tuple[int, int, int] | None = None
    adapt_input: Any = None


class TrainingSet(Protocol):
    """What :meth:`Distiller.prepare` may ask of the training data."""
    num_samples: int
    labels: Tensor | None  #: ``(num_samples,)`` int64, on the CPU

    def teacher_outputs(self, names: tuple[str, ...], *, augment: bool = False) -> Iterator[tuple[dict, Batch]]:
        """Run the teacher (eval, no gradient) over the training set once: yields ``(taps, batch)``.

        Args:
            names: tap names.
            augment: with the training augmentation and order; else the test transform in the set's order.
        """

    def cached(self, key: str, compute) -> dict[str, Tensor]:
        """The dict of tensors that ``compute()`` returns, kept on disk under ``key``, teacher, data and transform."""


class Distiller(nn.Module):
    """Base class of all distillers. A subclass sets :attr:`needs` (on the class or in ``__init__``) and ``forward``.

    Class attributes:
        needs: what is read.
        gradient_rule: ``None``, or a function ``(task_grad, distill_grad) -> grad`` on flat float vectors of all of the
            student's trainable parameters; then task and distillation losses are differentiated apart and the
            optimiser steps along what the rule returns (over whole accumulated batches, with unscaled meaning).
        same_classes: whether logits of teacher and student must have the same number of classes.
        needs_teacher: whether it makes no sense without ``model.teacher``.
    """
    needs: Needs = Needs()
    same_classes: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True
    gradient_rule: ClassVar[Any] = None

    def adapt_student(self, student: nn.Module, teacher: nn.Module | None, shapes: Shapes) -> nn.Module:
        """Return the network to be trained in place of ``student``; by default ``student`` itself.

        ``shapes`` holds the dry-run shapes of ``needs`` that can be read before the change (names that cannot are left out).
        """
        return student

    def adapt_teacher(self, teacher: nn.Module) -> None:
        """Alter the frozen teacher in place; by default nothing."""

    def build(self, shapes: Shapes) -> None:
        """Make the trainable parts; by default none."""

    def prepare(self, training_set: TrainingSet) -> None:
        """Gather statistics of the training set, or make per-sample buffers; by default nothing."""

    def forward(self, student: dict, teacher: dict, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The unweighted terms of this step, scalars by name.

        Args:
            student, teacher: the taps of :attr:`needs` (:class:`zoo.taps.Taps`), float32 even under autocast; the
                teacher's carry no gradient. ``student.run(images, names)`` makes a further pass.
            batch: images, labels, indices, views.
            progress: epoch and iteration.
        """
        raise NotImplementedError

    def task_weight(self, progress: Progress) -> float:
        """A factor of the task's own loss at this point of the run, for methods in stages; where it is 0 the task's loss is
        not computed, so that parameters that only it reaches stay as they are."""
        return 1.0

    def param_groups(self) -> list[dict]:
        """Optimiser groups of the trainable parts: ``params`` and optionally ``lr_mult``, ``decay_mult`` (times the
        optimiser's own ``lr`` and ``weight_decay``) or plain optimiser options."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [dict(params=params)] if params else []


def hard_labels(batch: Batch, method: str) -> Tensor:
    """``(N,)`` int64 labels of a batch.

    Raises:
        ValueError: if the batch has none, or mixup/cutmix made them soft.
    """
    if batch.labels is None:
        raise ValueError(f'{method} needs labels, and this data set has none: use a labelled set, '
                         'or a method without labels (kd, fitnets, at, ...).')
    if batch.labels.dim() != 1:
        raise ValueError(f'{method} needs hard labels (N,), and mixup/cutmix made them {tuple(batch.labels.shape)}: '
                         'remove `mixup` from model.data_preprocessor.')
    return batch.labels


class WeightSchedule:
    """A distiller's weight over a run.

    Args:
        value: the weight, or a dict: ``dict(value=1.0, warmup_epochs=20)`` rises linearly over the first epochs (epoch 1
            has ``1/20``); ``dict(start=1.0, end=0.0, shape='linear'|'cosine', begin=0.0, until=1.0)`` moves from start to
            end between two fractions of the run.

    Raises:
        ValueError: for unknown keys or shapes.
    """

    def __init__(self, value: float | dict = 1.0):
        self.options = dict(value) if isinstance(value, dict) else dict(value=float(value))
        unknown = set(self.options) - {'value', 'warmup_epochs', 'start', 'end', 'shape', 'begin', 'until'}
        if unknown or ('start' in self.options) != ('end' in self.options):
            raise ValueError(f'A weight is a number, dict(value, warmup_epochs) or dict(start, end, shape, begin, until); '
                             f'got {value!r}.')
        if self.options.get('shape', 'linear') not in ('linear', 'cosine'):
            raise ValueError(f"A weight's shape is 'linear' or 'cosine', not {self.options['shape']!r}.")

    def __call__(self, progress: Progress) -> float:
        o = self.options
        weight = o.get('value', 1.0) * progress.warmup(o.get('warmup_epochs', 0))
        if 'start' not in o:
            return weight
        begin, until = o.get('begin', 0.0), o.get('until', 1.0)
        share = min(max((progress.fraction - begin) / max(until - begin, 1e-12), 0.0), 1.0)
        if o.get('shape', 'linear') == 'cosine':
            share = (1 - math.cos(math.pi * share)) / 2
        return weight * (o['start'] + (o['end'] - o['start']) * share)
