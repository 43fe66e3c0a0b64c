"""Loops over data that resume in mid-epoch and leave the random state as they found it."""
import contextlib
import io
import itertools

import numpy as np
import torch
from mmengine.runner import EpochBasedTrainLoop, ValLoop
from torch.utils.data import DataLoader

from zoo.registry import LOOPS

from .checkpoint import random_state, restore_random_state


def _rest_of_epoch(loader: DataLoader, skip: int) -> DataLoader:
    """``loader`` without its first ``skip`` batches, in the same order; the skipped samples are never read."""
    batches = list(itertools.islice(iter(loader.batch_sampler), skip, None))
    return DataLoader(loader.dataset, batch_sampler=batches, num_workers=loader.num_workers, collate_fn=loader.collate_fn,
                      pin_memory=loader.pin_memory, worker_init_fn=loader.worker_init_fn)


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop that continues inside an epoch, at the very next batch, after a resume.

    ``pending_state`` is the random state of the checkpoint, put in force when the data loader has been started as the
    uninterrupted run had started it.
    """

    def __init__(self, runner, dataloader, max_epochs: int, val_begin: int = 1, val_interval: int = 1, **kwargs):
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, **kwargs)
        self.pending_state: dict | None = None
        if len(self.dataloader) == 0:
            raise ValueError('The training set gives no batch: it is empty, or smaller than batch_size with drop_last=True.')

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        dataset = self.dataloader.dataset
        if hasattr(dataset, 'set_epoch'):
            dataset.run_seed = self.runner.seed
            dataset.set_epoch(self._epoch)
        done = self._iter - self._epoch * len(self.dataloader)
        if self.pending_state is not None and done == 0:
            restore_random_state(self.pending_state)
            self.pending_state = None
        loader = _rest_of_epoch(self.dataloader, done) if done else self.dataloader
        batches = iter(loader)
        if self.pending_state is not None:
            restore_random_state(self.pending_state)
            self.pending_state = None
        for position, data in enumerate(batches, start=done):
            self.run_iter(position, data)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def _python(value):
    """A numpy number as Python's, with the digits that it shows."""
    return float(str(value)) if isinstance(value, np.floating) else value.item() if isinstance(value, np.generic) else value


@LOOPS.register_module()
class EvalLoop(ValLoop):
    """Validation and test in full precision; training goes on as if it had not happened.

    The frozen teacher's outputs are kept from one evaluation to the next (its weights and the transform do not change).
    """

    def __init__(self, runner, dataloader, evaluator, remember_teacher: bool = True):
        super().__init__(runner, dataloader, evaluator)
        self.teacher_memory: dict | None = {} if remember_teacher else None

    def _evaluate(self) -> dict:
        if not any(type(metric).__module__.startswith('mmdet.') for metric in self.evaluator.metrics):
            return self.evaluator.evaluate(len(self.dataloader.dataset))
        text = io.StringIO()  # pycocotools prints two dozen lines each time: they go to the log file
        with contextlib.redirect_stdout(text):
            metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.logger.info(text.getvalue())
        for metric in self.evaluator.metrics:  # mmdet gives nothing at all where nothing was detected
            for kind in getattr(metric, 'metrics', ()) if hasattr(metric, 'cat_ids') else ():
                for name in ('mAP', 'mAP_50', 'mAP_75') if kind in ('bbox', 'segm') else ():
                    metrics.setdefault(f'{metric.prefix}/{kind}_{name}', 0.0)
        return metrics

    @torch.no_grad()
    def run(self) -> dict:
        before = random_state()
        self.runner.eval_loop = self
        model = getattr(self.runner.model, 'module', self.runner.model)
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        model.teacher_memory = self.teacher_memory
        try:
            for position, data in enumerate(self.dataloader):
                self.runner.call_hook('before_val_iter', batch_idx=position, data_batch=data)
                outputs = model.val_step(data)
                self.evaluator.process(data_samples=outputs, data_batch=data)
                self.runner.call_hook('after_val_iter', batch_idx=position, data_batch=data, outputs=outputs)
        finally:
            model.teacher_memory = None
            restore_random_state(before)
        metrics = {name: _python(value) for name, value in self._evaluate().items()}
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics
