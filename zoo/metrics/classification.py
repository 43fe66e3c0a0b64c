"""The metric of image classification, with and without a teacher."""
from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from zoo.metrics.accuracy import check_logits, topk_correct
from zoo.metrics.calibration import calibration_error, full_precision
from zoo.metrics.fidelity import paired_logits, predictive_kl
from zoo.registry import METRICS


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """Top-1, top-5, log-likelihood, calibration and, beside a teacher, agreement and divergence.

    A batch is one dict in ``data_samples``: ``logits (N, K)``; ``labels (N,)`` or absent; ``teacher_logits (N, K)``,
    or ``(N, M, K)`` for an ensemble, or absent; on any device. Only one row of at most seven numbers is kept per
    sample, where the logits are, so that no batch waits for the device.

    :meth:`evaluate` returns, in this order, what the batches allow:

    - ``top1``, ``top5`` (only where ``K > 5``), ``agreement``: percent
    - ``nll``, ``teacher_kl``: nats; ``teacher_kl`` is ``KL(teacher || student)``, the mean over samples
    - ``ece``: expected calibration error, 0..1

    Across processes the rows of all ranks are gathered in the order of mmengine's samplers (rank 0's first, rank 1's
    first, ..., rank 0's second), and what a sampler added to fill the last round is cut off.

    Args:
        num_bins: bins of the calibration error (15: Guo et al., ICML 2017, arXiv:1706.04599).
        prefix: put before the names, as in ``prefix/top1``; by default there is none.

    >>> metric = ClassificationMetric()
    >>> metric.process(None, [dict(logits=torch.eye(4), labels=torch.tensor([0, 1, 2, 0]))])
    >>> metric.evaluate(4)['top1']
    75.0
    """

    def __init__(self, num_bins: int = 15, *, prefix: str | None = None) -> None:
        if num_bins < 1:
            raise ValueError(f'num_bins must be at least 1; got {num_bins}.')
        # mmengine warns where a prefix is missing; here that is intended
        super().__init__(prefix=prefix or 'unnamed')
        self.prefix = prefix
        self.num_bins = num_bins
        self._columns: tuple[str, ...] | None = None

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Add batches.

        Raises:
            KeyError: a dict without ``logits``.
            ValueError: shapes that do not match, neither labels nor teacher, or other parts than in earlier batches.
            TypeError: integer logits or floating labels.
        """
        for batch in data_samples:
            if 'logits' not in batch:
                raise KeyError(f'ClassificationMetric needs logits in each batch; got {sorted(batch)}.')
            rows = self._rows(batch['logits'], batch.get('labels'), batch.get('teacher_logits'))
            columns = tuple(rows)
            if self._columns is not None and self.results and columns != self._columns:
                raise ValueError('ClassificationMetric: all batches of an evaluation must hold the same parts and '
                                 f'classes; one gave {self._columns}, a later one {columns}.')
            self._columns = columns
            self.results.append(torch.stack(list(rows.values()), 1))

    @staticmethod
    @torch.no_grad()
    def _rows(logits: Tensor, labels: Tensor | None, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """Columns of numbers per sample, each ``(N,)`` float32."""
        if labels is None and teacher_logits is None:
            raise ValueError('ClassificationMetric needs labels or teacher_logits beside logits; a batch has neither.')
        logits, rows = logits.detach(), OrderedDict()
        check_logits(logits)
        logits = full_precision(logits)
        num_classes = logits.shape[1]
        if labels is not None:
            labels = labels.to(logits.device)
            check_logits(logits, labels)
            labels = labels.long()
            rows['top1'] = topk_correct(logits, labels, 1)
            if num_classes > 5:
                rows['top5'] = topk_correct(logits, labels, 5)
            log_probs = logits.log_softmax(-1)
            rows['confidence'] = log_probs.amax(-1).exp()
            # a wrong index is told at the end: asking here would wait for the device, and indexing would abort it
            inside = labels.clamp(0, num_classes - 1)
            rows['nll'] = -log_probs.gather(1, inside[:, None])[:, 0]
            rows['bad_label'] = inside != labels
        if teacher_logits is not None:
            student, teacher = paired_logits(logits, teacher_logits.detach().to(logits.device))
            rows['agreement'] = student.argmax(-1) == teacher.argmax(-1)
            rows['teacher_kl'] = predictive_kl(student, teacher, reduction='none')
        return OrderedDict((name, column.float()) for name, column in rows.items())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Metrics of rows ``(n, columns)`` that :meth:`process` made.

        Raises:
            ValueError: where there are no rows, or a label lay outside the classes.
        """
        if not results or self._columns is None:
            raise ValueError('ClassificationMetric: nothing to evaluate; no batch was processed. '
                             'Check that the data loader is not empty.')
        rows = dict(zip(self._columns, torch.cat(list(results)).double().cpu().unbind(1)))
        metrics = OrderedDict()
        if 'top1' in rows:
            wrong = int(rows['bad_label'].sum())
            if wrong:
                raise ValueError(f'ClassificationMetric: {wrong} of {len(rows["top1"])} labels lie outside the classes '
                                 'of the logits; check num_classes of the model and the labels of the data set.')
            metrics['top1'] = 100 * rows['top1'].mean().item()
            if 'top5' in rows:
                metrics['top5'] = 100 * rows['top5'].mean().item()
            metrics['nll'] = rows['nll'].mean().item()
            metrics['ece'] = calibration_error(rows['confidence'], rows['top1'], num_bins=self.num_bins).item()
        if 'agreement' in rows:
            metrics['agreement'] = 100 * rows['agreement'].mean().item()
            metrics['teacher_kl'] = rows['teacher_kl'].mean().item()
        return metrics

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics over all batches of all processes; forgets the batches.

        Args:
            size: number of samples in the data set; what lies beyond is padding.

        Raises:
            ValueError: in every process, where none has rows, where parts differ between processes, or where a label
                lay outside the classes.
        """
        own = torch.cat(self.results).cpu() if self.results else None
        columns = self._columns if self.results else None
        self.results.clear()
        self._columns = None
        # rows are few bytes a sample: every rank gets all, so that an error is raised everywhere and none waits
        parts = [part for part in all_gather_object((columns, own)) if part[0] is not None]
        kinds = {part[0] for part in parts}
        if len(kinds) > 1:
            raise ValueError(f'ClassificationMetric: the processes gave different parts: {sorted(kinds)}.')
        if parts:
            self._columns = kinds.pop()
        rows = torch.cat([part[1] for part in parts]) if parts else None
        if rows is not None:
            turn = torch.cat([torch.arange(len(part[1])) for part in parts])
            rows = rows[turn.argsort(stable=True)][:size]
        metrics = self.compute_metrics([] if rows is None or len(rows) == 0 else [rows])
        self._columns = None
        return OrderedDict((f'{self.prefix}/{name}' if self.prefix else name, value) for name, value in metrics.items())
