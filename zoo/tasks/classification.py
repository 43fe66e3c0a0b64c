"""Image classification."""
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.distillers.base import Batch
from zoo.registry import TASKS
from zoo.taps import TapReader, Taps, split_view


@TASKS.register_module()
class Classification:
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

    def example(self, device: torch.device | str = 'cpu') -> Tensor:
        """An input for dry runs: ``(2, C, H, W)`` zeros."""
        return torch.zeros(2, *self.input_shape, device=device)

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
