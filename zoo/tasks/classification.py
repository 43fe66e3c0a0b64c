"""Image classification."""
from collections.abc import Callable, Iterable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.distillers.base import Batch, Distiller
from zoo.registry import TASKS
from zoo.taps import TapReader, Taps, split_view

from .base import Task


@TASKS.register_module()
class Classification(Task):
    """Images with one label each, hard ``(N,)`` or soft ``(N, K)``.

    Args:
        num_classes: K.
        input_shape: ``(C, H, W)`` of one image as the networks see it; used for dry runs.
        loss_weight: weight of the cross-entropy with the labels; 0 for training without labels.
        label_smoothing: of that cross-entropy.
    """
    tap_names = ('logits',)

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int] = (3, 32, 32), loss_weight: float = 1.0,
                 label_smoothing: float = 0.0):
        self.num_classes = num_classes
        self.input_shape = tuple(input_shape)
        self.loss_weight = loss_weight
        self.label_smoothing = label_smoothing

    def check_classes(self, distillers: Mapping[str, Distiller], student: nn.Module, teacher: nn.Module | None,
                      student_shapes: Mapping, teacher_shapes: Mapping) -> None:
        """Refuse networks whose classes do not fit.

        Raises:
            ValueError: says which.
        """
        own = student_shapes['logits'][-1]
        if own != self.num_classes:
            raise ValueError(f'The student has {own} outputs and the task {self.num_classes} classes: set '
                             f'model.student.num_classes={self.num_classes}.')
        for name, distiller in distillers.items():
            reads = [n for n in distiller.needs.teacher if split_view(n)[0] == 'logits']
            if not reads or not distiller.same_classes:
                continue
            theirs = teacher_shapes[reads[0]][-1]
            if theirs != own:
                raise ValueError(
                    f'{name} compares logits, but the teacher has {theirs} classes and the student {own}: set '
                    'model.teacher.num_classes and a checkpoint trained on these classes, or use a method on features.')

    def batch(self, data: dict) -> Batch:
        """The preprocessed dict of the loader as a :class:`Batch`."""
        data = dict(data)
        views = {key.removeprefix('images_'): data.pop(key) for key in list(data) if key.startswith('images_')}
        return Batch(images=data.pop('images'), labels=data.pop('labels', None), hard_labels=data.pop('hard_labels', None),
                     indices=data.pop('indices', None), views=views, extra=data)

    def run(self, reader: TapReader, batch: Batch, names: Iterable[str]) -> Taps:
        """The taps ``names`` of one network, one pass for each view that the names ask for.

        Raises:
            ValueError: if the batch lacks a view.
        """
        by_view: dict[str, list[str]] = {}
        for name in names:
            tap, view = split_view(name)
            by_view.setdefault(view, []).append(tap)
        taps = Taps({}, run=reader)
        for view, wanted in by_view.items():
            if view and view not in batch.views:
                raise ValueError(f'A distiller reads the view {view!r} of each image and the data set gives '
                                 f'{sorted(batch.views) or "none"}: add views=dict({view}=[...]) to '
                                 'train_dataloader.dataset.')
            values = reader(batch.views[view] if view else batch.images, wanted)
            taps.update({f'{name}@{view}' if view else name: dict.__getitem__(values, name) for name in wanted})
        return taps

    def loss(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``dict(ce=...)``, weighted; empty where ``loss_weight`` is 0.

        Raises:
            ValueError: if the data set has no labels.
        """
        if not self.loss_weight:
            return {}
        if batch.labels is None:
            raise ValueError('The data set has no labels: set task.loss_weight=0 and use a distiller that needs none.')
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=self.label_smoothing)
        return dict(ce=self.loss_weight * loss)

    def predict(self, reader: TapReader, batch: Batch, teacher_logits: Callable[[Batch], Tensor] | None = None) -> list[dict]:
        """For the metrics: ``logits`` ``(N, K)``, ``labels`` if there are some, ``teacher_logits`` if they are of K classes."""
        result = dict(logits=reader.module(batch.images))
        if batch.labels is not None:
            result['labels'] = batch.labels
        theirs = None if teacher_logits is None else teacher_logits(batch)
        if theirs is not None and theirs.shape == result['logits'].shape:
            result['teacher_logits'] = theirs
        return [result]
