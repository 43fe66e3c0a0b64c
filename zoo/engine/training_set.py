"""The training set as :meth:`zoo.distillers.Distiller.prepare` sees it."""
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.distillers.base import Batch
from zoo.registry import DATASETS

from .checkpoint import random_state, restore_random_state


def cache_folder() -> Path:
    """``$ZOO_CACHE`` or ``~/.cache/distillation_zoo``."""
    return Path(os.environ.get('ZOO_CACHE') or Path.home() / '.cache' / 'distillation_zoo')


class RunnerTrainingSet:
    """The training set of a runner, for passes before training.

    Args:
        model: the :class:`zoo.tasks.Distillation`, whose teacher, task and preprocessing are used.
        loader: the training loader.
        dataset_cfg: the training set's config; the transforms of ``test_transforms`` replace its own where a pass is asked
            for without augmentation.
        test_transforms: per-image transforms (detection and segmentation: the pipeline) of the evaluation set, or None.
    """

    def __init__(self, model, loader: DataLoader, dataset_cfg: dict | None = None, test_transforms=None):
        self.model, self.loader = model, loader
        self.dataset_cfg, self.test_transforms = dataset_cfg, test_transforms
        self.num_samples = len(loader.dataset)
        labels = getattr(loader.dataset, 'labels', None)
        self.labels: Tensor | None = None if labels is None else torch.as_tensor(labels).long()

    def teacher_outputs(self, names: tuple[str, ...], *, augment: bool = False) -> Iterator[tuple[dict, Batch]]:
        """See :class:`zoo.distillers.TrainingSet`; the random state is left as it was found."""
        before = random_state()
        model = self.model
        dataset = self.loader.dataset
        if not augment and self.dataset_cfg is not None:
            kept = {k: v for k, v in self.dataset_cfg.items() if k not in ('transforms', 'views', 'pipeline')}
            if 'transforms' in self.dataset_cfg:
                dataset = DATASETS.build(dict(kept, transforms=self.test_transforms or []))
            elif 'pipeline' in self.dataset_cfg and self.test_transforms is not None:
                dataset = DATASETS.build(dict(kept, pipeline=self.test_transforms))
        loader = DataLoader(dataset, batch_size=self.loader.batch_size or 64, shuffle=augment,
                            num_workers=self.loader.num_workers, collate_fn=self.loader.collate_fn)
        try:
            with torch.no_grad():
                for data in loader:
                    batch = model.task.batch(model.data_preprocessor(data, training=augment))
                    yield model.task.run(model.teacher_reader, batch, names), batch
        finally:
            restore_random_state(before)

    def fingerprint(self) -> str:
        """A hash of the teacher's weights, the data (size, labels, first images) and the transforms."""
        digest = hashlib.sha256()
        for key, value in self.model.teacher.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        digest.update(repr((self.num_samples, self.dataset_cfg, self.test_transforms)).encode())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        before = random_state()
        data = self.loader.collate_fn([self.loader.dataset[i] for i in range(min(8, self.num_samples))])
        restore_random_state(before)
        processed = self.model.data_preprocessor(data, training=False)
        digest.update(processed['images' if 'images' in processed else 'inputs'].float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def cached(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """``compute()``, or what it returned before for the same key, teacher, data and transform."""
        name = hashlib.sha256(f'{key}|{self.fingerprint()}'.encode()).hexdigest()[:24]
        path = cache_folder() / 'statistics' / f'{name}.pt'
        device = next(self.model.parameters()).device
        if path.is_file():
            try:
                return torch.load(path, map_location=device, weights_only=True)
            except Exception:  # a damaged cache file only costs the time to compute it again
                path.unlink(missing_ok=True)
        values = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f'.{os.getpid()}.part')
        torch.save({k: v.cpu() for k, v in values.items()}, partial)
        os.replace(partial, path)
        return values
