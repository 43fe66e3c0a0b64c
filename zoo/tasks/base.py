"""What a task says to :class:`zoo.tasks.Distillation`: what a batch is, and how networks are run and judged on it."""
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.distillers.base import Batch, Distiller
from zoo.taps import TapReader, Taps

from .inputs import input_adapter


class Task:
    """Base of all tasks. A subclass says at least :meth:`batch`, :meth:`run`, :meth:`loss` and :meth:`predict`.

    Attributes:
        tap_names: taps of the student that :meth:`loss` reads, the first of which it is given.
        num_classes: K, or None where there are no classes.
        input_shape: ``(C, H, W)`` of one image as the student sees it.
        reader: what reads taps of this task's networks.
        package: the optional package that its networks come from.
        pixel_range: the white of the pixels that the data preprocessor's ``mean`` and ``std`` are meant for.
    """
    tap_names: tuple[str, ...] = ()
    num_classes: int | None = None
    input_shape: tuple[int, int, int] = ()
    reader: type[TapReader] = TapReader
    package: str = ''
    pixel_range: float = 1.0

    # ---- construction

    def example(self, device: torch.device | str = 'cpu') -> Tensor:
        """An input for dry runs: ``(2, C, H, W)`` zeros."""
        return torch.zeros(2, *self.input_shape, device=device)

    def shapes(self, reader: TapReader, names: Iterable[str]) -> dict[str, Any]:
        """Shapes of the taps, by a dry run."""
        return reader.shapes(tuple(names), self.example())

    def default_preprocessor(self, student: nn.Module) -> nn.Module | None:
        """The data preprocessor where the config gives none."""
        return None

    def default_input(self, teacher: Mapping) -> dict | str | None:
        """``model.teacher.input`` where the config of the teacher says nothing."""
        return 'own' if teacher.get('pretrained') else None

    def has_weights(self, teacher: Mapping) -> bool:
        """Whether the config of a teacher names trained weights."""
        return any(teacher.get(key) for key in ('checkpoint', 'pretrained', 'weights'))

    def input_adapter(self, network: nn.Module, wanted: dict | str | None, preprocessor: nn.Module) -> nn.Module | None:
        """What turns the student's images into those of another network, or None (:func:`zoo.tasks.inputs.input_adapter`)."""
        return input_adapter(network, wanted, preprocessor, tuple(self.input_shape))

    def check_classes(self, distillers: Mapping[str, Distiller], student: nn.Module, teacher: nn.Module | None,
                      student_shapes: Mapping, teacher_shapes: Mapping) -> None:
        """Refuse networks whose classes do not fit the data or each other, with a ValueError; by default nothing."""

    def adopt(self, student: nn.Module, data_preprocessor: nn.Module, config: dict | None) -> None:
        """Called once student and preprocessor (built from ``config``, if there was one) are final; by default nothing."""

    # ---- one step

    def batch(self, data: dict) -> Batch:
        """The preprocessed dict of the loader as a :class:`Batch`."""
        raise NotImplementedError

    def run(self, reader: TapReader, batch: Batch, names: Iterable[str]) -> Taps:
        """The taps ``names`` of one network."""
        raise NotImplementedError

    def loss(self, tap: Any, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the student's own loss, from its first tap of :attr:`tap_names`; empty where there is none."""
        raise NotImplementedError

    def student_step(self, reader: TapReader, batch: Batch, names: Iterable[str],
                     with_loss: bool = True) -> tuple[Taps, dict[str, Tensor], dict[str, Tensor]]:
        """One pass of the student: its taps, the weighted terms of its own loss, and other scalars that it reports.

        Args:
            with_loss: False leaves the terms out.
        """
        taps = self.run(reader, batch, dict.fromkeys((*self.tap_names, *names)))
        if not with_loss:
            return taps, {}, {}
        with torch.autocast(batch.images.device.type, enabled=False):
            return taps, self.loss(taps[self.tap_names[0]], batch), {}

    def predict(self, reader: TapReader, batch: Batch, teacher_logits: Callable[[Batch], Tensor] | None = None) -> list:
        """What the task's metrics want of a batch.

        Args:
            teacher_logits: the frozen teacher's, ``(N, K)``; None where there is no teacher.
        """
        raise NotImplementedError
