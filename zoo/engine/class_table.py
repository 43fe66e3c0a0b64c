"""The scores of each class: printed as a table, and kept beside the run's scores."""
import math
from collections.abc import Mapping, Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.table import Table

from zoo.registry import HOOKS


@HOOKS.register_module()
class ClassTableHook(Hook):
    """Shows what mmseg's ``IoUMetric`` and mmdet's ``CocoMetric`` (with ``classwise=True``) found for each class.

    The table stands in the log after each evaluation and on the screen after the last and after a test; the values go into
    ``scores.jsonl`` as ``per_class``, in percent for mmseg and from 0 to 1 for mmdet, as these packages give them.

    Args:
        every: show the table after each evaluation.
        limit: classes on the screen, the worst first where there are more.
    """
    priority = 'HIGHEST'  # before the scores are printed and written down

    def __init__(self, every: bool = False, limit: int = 40):
        self.every, self.limit = every, limit
        self._found: dict[str, Sequence[float]] = {}

    def _watch(self, runner, loop) -> None:
        self._found, runner.per_class = {}, None
        for metric in loop.evaluator.metrics:
            original = getattr(metric, 'total_area_to_metrics', None)
            if original is None or 'total_area_to_metrics' in vars(metric):
                continue

            def keep(*args, _original=original, **kwargs):
                result = _original(*args, **kwargs)
                self._found = {name: list(values) for name, values in result.items() if getattr(values, 'ndim', 0) == 1}
                return result
            metric.total_area_to_metrics = keep

    def before_val_epoch(self, runner) -> None:
        self._watch(runner, runner.eval_loop)

    def _collect(self, loop, metrics: dict | None) -> dict[str, dict[str, float]]:
        names = [str(n) for n in (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes', ())]
        table: dict[str, dict[str, float]] = {}
        for measure, values in self._found.items():
            for name, value in zip(names, values):
                table.setdefault(name, {})[measure] = round(float(value) * 100, 2)
        for key in list(metrics or {}):  # CocoMetric: "coco/<class>_precision"
            name = key.rpartition('/')[2].removesuffix('_precision')
            if key.endswith('_precision') and name in names:
                table.setdefault(name, {})['AP'] = float(metrics.pop(key))
        return table

    def after_val_epoch(self, runner, metrics=None) -> None:
        loop = runner._train_loop
        show = self.every or not hasattr(loop, 'max_epochs') or loop.epoch >= loop.max_epochs
        found = self._collect(runner.eval_loop, metrics)
        runner.per_class = found or None
        if not found or not is_main_process():
            return
        runner.logger.info('per class: ' + '; '.join(
            f'{name} ' + ' '.join(f'{k} {v:.4g}' for k, v in values.items()) for name, values in found.items()))
        if show:
            Console(width=100).print(class_table(found, self.limit))



def class_table(values: Mapping[str, Mapping[str, float]], limit: int = 40) -> Table:
    """A table with a row for each class.

    Args:
        values: class -> measure -> value.
        limit: rows; where there are more classes, those with the lowest first measure.
    """
    measures = list(dict.fromkeys(name for row in values.values() for name in row))
    rows = list(values.items())
    title = None
    if len(rows) > limit:
        rows = sorted(rows, key=lambda row: -math.inf if math.isnan(row[1].get(measures[0], math.nan)) else
                      row[1][measures[0]])[:limit]
        title = f'the {limit} lowest of {len(values)} classes'
    table = Table(title=title)
    table.add_column('class')
    for name in measures:
        table.add_column(name, justify='right')
    for name, row in rows:
        table.add_row(name, *('-' if math.isnan(row.get(m, math.nan)) else f'{row[m]:.4g}' for m in measures))
    return table
