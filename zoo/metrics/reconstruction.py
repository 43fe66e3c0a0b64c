"""The metric of masked images."""
from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric

from zoo.registry import METRICS


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """How well the hidden patches of masked images are predicted.

    A batch is one dict in ``data_samples``: ``pred`` and ``target`` ``(N, L, D)`` and ``mask`` ``(N, L)``, 1 where hidden, at
    least one patch of each image. :meth:`evaluate` returns

    - ``reconstruction_loss``: mean squared error of the hidden patches, in the units of ``target``, the mean over images;
    - ``explained_variance``: percent, ``100 * (1 - error / variance)`` with the variance of all hidden target values about
      their common mean: 0 for predicting that mean everywhere, 100 for perfection. The higher the better.

    Args:
        prefix: put before the names, as in ``prefix/reconstruction_loss``; by default there is none.
    """

    def __init__(self, *, prefix: str | None = None) -> None:
        # mmengine warns where a prefix is missing; here that is intended
        super().__init__(prefix=prefix or 'unnamed')
        self.prefix = prefix

    @torch.no_grad()
    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Add batches.

        Raises:
            KeyError: a dict without one of its three parts.
            ValueError: unequal shapes, or an image without a hidden patch.
        """
        for batch in data_samples:
            missing = [key for key in ('pred', 'target', 'mask') if key not in batch]
            if missing:
                raise KeyError(f'ReconstructionMetric needs {", ".join(missing)} in each batch; got {sorted(batch)}: it is the '
                               'metric of the task MaskedImages.')
            pred, target, mask = batch['pred'].float(), batch['target'].float(), batch['mask'].float()
            if pred.shape != target.shape or mask.shape != pred.shape[:2]:
                raise ValueError('ReconstructionMetric needs pred and target (N, L, D) and mask (N, L), got '
                                 f'{tuple(pred.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}.')
            count = mask.sum(1)
            if not bool((count > 0).all()):
                raise ValueError('ReconstructionMetric: an image has no hidden patch; set task.mask_ratio above 0.')
            per_patch = ((pred - target).square().mean(-1), target.mean(-1), target.square().mean(-1))
            self.results.append(torch.stack([(value * mask).sum(1) / count for value in per_patch], dim=1))

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Metrics of rows ``(n, 3)`` that :meth:`process` made."""
        if not results:
            raise ValueError('ReconstructionMetric: nothing to evaluate; no batch was processed. Check that the data loader is '
                             'not empty.')
        error, mean, square = torch.cat(list(results)).double().cpu().mean(0).tolist()
        variance = square - mean**2
        explained = 100 * (1 - error / variance) if variance > 0 else float('nan')
        return OrderedDict(reconstruction_loss=error, explained_variance=explained)

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics over all batches of all processes; forgets the batches.

        Args:
            size: number of samples in the data set; what lies beyond is padding.
        """
        own = torch.cat(self.results).cpu() if self.results else None
        self.results.clear()
        parts = [part for part in all_gather_object(own) if part is not None]
        # mmengine's samplers deal samples out in turn: rank 0's first, rank 1's first, ...
        turn = torch.cat([torch.arange(len(part)) for part in parts]) if parts else None
        rows = [] if turn is None else [torch.cat(parts)[turn.argsort(stable=True)][:size]]
        metrics = self.compute_metrics(rows)
        return OrderedDict((f'{self.prefix}/{name}' if self.prefix else name, value) for name, value in metrics.items())
