"""Hooks of every run: progress and logs, the record of what was measured, and the guard against NaN."""
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.distillers.base import Progress as RunProgress
from zoo.registry import HOOKS

from .ema import student_of


def bare(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside a distributed wrapper."""
    return getattr(model, 'module', model)


def batch_size(data) -> int:
    """Images in a loader's batch."""
    if isinstance(data, dict):
        images = data.get('images', data.get('inputs', data.get('noise')))
        return len(images) if images is not None else 0
    return len(data) if hasattr(data, '__len__') else 0


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    minutes, seconds = divmod(int(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


@HOOKS.register_module()
class ProgressHook(Hook):
    """Tells the model and the user where the run stands.

    On a terminal: a bar with remaining time, images/s and losses. Piped: one plain line each ``interval`` iterations.
    The same scalars go to the run's visualiser backends (TensorBoard, ... by config) and to the log file. Losses stay on
    the device between two lines, so that a GPU is never waited for.

    Args:
        interval: iterations between two lines.
    """
    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 50):
        self.interval = interval
        self.bar: Progress | None = None

    def before_train(self, runner) -> None:
        loop = runner.train_loop
        self._sums, self._count, self._images = {}, 0, 0
        self._spent = 0.0
        self._steps = 0
        runner.train_seconds = getattr(runner, 'train_seconds', 0.0)
        runner.trained_images = getattr(runner, 'trained_images', 0)
        if is_main_process() and sys.stdout.isatty():
            self.bar = Progress(TextColumn('epoch {task.fields[epoch]}'), BarColumn(), TextColumn('{task.percentage:>3.0f} %'),
                                TimeRemainingColumn(), TextColumn('{task.fields[text]}'), console=Console())
            self.bar.start()
            self._task = self.bar.add_task('', total=loop.max_iters, completed=loop.iter, epoch='', text='')

    def before_train_epoch(self, runner) -> None:
        self._tick = time.perf_counter()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        loop = runner.train_loop
        hub = runner.message_hub
        for key, value in dict(epoch=loop.epoch, iter=loop.iter, max_epochs=loop.max_epochs, max_iters=loop.max_iters).items():
            hub.runtime_info[key] = value
        model = bare(runner.model)
        if hasattr(model, 'progress'):
            model.progress = RunProgress(loop.epoch + 1, loop.max_epochs, loop.iter, loop.max_iters)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for name, value in (outputs or {}).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        self._images += batch_size(data_batch) * runner.world_size
        loop = runner.train_loop
        last = batch_idx + 1 == len(loop.dataloader)
        if self._count >= self.interval or last:
            self._report(runner, batch_idx)

    def _report(self, runner, batch_idx: int) -> None:
        loop = runner.train_loop
        scalars = {name: float(value) / self._count for name, value in self._sums.items()}
        now = time.perf_counter()
        seconds, self._tick = now - self._tick, now
        runner.train_seconds += seconds
        runner.trained_images += self._images
        self._spent += seconds
        self._steps += self._count
        speed = self._images / max(seconds, 1e-9)
        remaining = self._spent / self._steps * (loop.max_iters - loop.iter - 1)
        lr = runner.optim_wrapper.get_lr()
        lr = next(iter(lr.values()))[0]
        scalars = {'lr': lr, **scalars}
        grad_norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if grad_norm is not None:
            scalars['grad_norm'] = float(grad_norm)
        self._sums, self._count, self._images = {}, 0, 0
        if not is_main_process():
            return
        runner.visualizer.add_scalars({**scalars, 'images_per_second': speed}, step=loop.iter + 1)
        losses = '  '.join(f'{k} {v:.4g}' for k, v in scalars.items())
        epoch = f'{loop.epoch + 1}/{loop.max_epochs}'
        line = (f'epoch {epoch} [{batch_idx + 1}/{len(loop.dataloader)}]  {losses}  {speed:.0f} images/s  '
                f'remaining {clock(remaining)}')
        runner.logger.info(line)
        if self.bar is not None:
            self.bar.update(self._task, completed=loop.iter + 1, epoch=epoch, text=f'{losses}  {speed:.0f} images/s')
        else:
            print(line, flush=True)

    def after_val_epoch(self, runner, metrics=None) -> None:
        if not is_main_process():
            return
        loop = runner._train_loop
        epoch = getattr(loop, 'epoch', None)
        text = '  '.join(f'{k} {v:.4g}' for k, v in (metrics or {}).items() if isinstance(v, (int, float)))
        head = f'epoch {epoch}' if isinstance(epoch, int) else 'test'
        line = f'{head} evaluation  {text}'
        runner.logger.info(line)
        if isinstance(epoch, int):
            runner.visualizer.add_scalars({f'val/{k}': v for k, v in (metrics or {}).items()}, step=epoch)
        if self.bar is not None:
            self.bar.console.print(line)
        else:
            print(line, flush=True)

    after_test_epoch = after_val_epoch

    def after_train(self, runner) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def count_parameters(net: torch.nn.Module) -> int:
    """All parameters, frozen ones included."""
    return sum(p.numel() for p in net.parameters())


def environment() -> dict[str, str]:
    """Hardware and versions that a measured number depends on."""
    import mmengine
    import timm
    import torchvision
    if torch.cuda.is_available():
        hardware = f'{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}'
    else:
        hardware = f'CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads'
    import zoo
    return dict(hardware=hardware, python=platform.python_version(), torch=torch.__version__,
                torchvision=torchvision.__version__, timm=timm.__version__, mmengine=mmengine.__version__,
                zoo=zoo.__version__)


@HOOKS.register_module()
class RecordHook(Hook):
    """Writes down what was measured, as it is measured, and releases the student at the end.

    ``scores.jsonl``: one line an evaluation. ``record.json``: data, teacher, distillers, seed, epochs, last and best
    scores, parameters, time, hardware and versions; the only source of the zoo's own tables. ``student.safetensors``: the
    last epoch's student (its average where there is one), a plain network with the config that rebuilds it.

    Args:
        monitor: the score whose best epoch is noted.
        rule: ``'greater'`` or ``'less'``: which score is the best.
    """
    priority = 'LOW'

    def __init__(self, monitor: str = 'top1', rule: str = 'greater'):
        if rule not in ('greater', 'less'):
            raise ValueError(f"RecordHook: rule is 'greater' or 'less', not {rule!r}.")
        self.monitor, self.sign = monitor, 1 if rule == 'greater' else -1
        self.scores: list[dict] = []

    def before_train(self, runner) -> None:
        self.folder = Path(runner.work_dir)
        self.path = self.folder / 'scores.jsonl'
        self.scores = []
        self.start = time.time()
        if self.path.is_file() and runner.train_loop.iter:
            lines = [json.loads(line) for line in self.path.read_text().splitlines() if line.strip()]
            self.scores = [line for line in lines if line['epoch'] <= runner.train_loop.epoch]
        if is_main_process():
            self.path.write_text(''.join(json.dumps(s) + '\n' for s in self.scores))

    def after_val_epoch(self, runner, metrics=None) -> None:
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            return
        score = dict(epoch=runner.train_loop.epoch, iteration=runner.train_loop.iter,
                     **{k: float(v) for k, v in (metrics or {}).items() if isinstance(v, (int, float))})
        if getattr(runner, 'per_class', None):
            score['per_class'] = runner.per_class
        self.scores.append(score)
        if is_main_process():
            with self.path.open('a') as file:
                file.write(json.dumps(score) + '\n')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta']['train_seconds'] = getattr(runner, 'train_seconds', 0.0)
        checkpoint['meta']['trained_images'] = getattr(runner, 'trained_images', 0)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        runner.train_seconds = checkpoint['meta'].get('train_seconds', 0.0)
        runner.trained_images = checkpoint['meta'].get('trained_images', 0)

    @master_only
    def after_train(self, runner) -> None:
        from zoo.models.released import save_released
        model, cfg, loop = bare(runner.model), runner.cfg, runner.train_loop
        best = max(self.scores, key=lambda s: self.sign * s.get(self.monitor, self.sign * float('-inf')), default=None)
        teacher = getattr(model, 'teacher', None)
        teacher_cfg = cfg.model.get('teacher') or {}
        dataset = loop.dataloader.dataset
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else \
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        record = dict(
            config=str(cfg.filename or ''), data=getattr(dataset, 'name', cfg.get('dataset_name') or type(dataset).__name__),
            train_images=len(dataset), epochs=loop.epoch, iterations=loop.iter, seed=runner.seed,
            batch_size=(loop.dataloader.batch_size or 0) * runner.world_size, processes=runner.world_size,
            amp=getattr(runner.optim_wrapper, 'amp', 'off'),
            student=plain_config(cfg.model.get('student')), student_parameters=count_parameters(model.student),
            teacher=plain_config(teacher_cfg) if teacher is not None else None,
            teacher_parameters=count_parameters(teacher) if teacher is not None else None,
            distillers=[plain_config(d) for d in cfg.model.get('distillers', [])],
            monitor=self.monitor, last=self.scores[-1] if self.scores else None, best=best, scores=self.scores,
            train_seconds=round(runner.train_seconds, 2),
            images_per_second=round(runner.trained_images / max(runner.train_seconds, 1e-9), 1),
            peak_memory_bytes=int(peak), finished=time.strftime('%Y-%m-%d %H:%M:%S'), **environment())
        if getattr(student_of(runner), 'privileged', None):  # its scores compare with no other network's
            record['privileged'] = student_of(runner).privileged
        (self.folder / 'record.json').write_text(json.dumps(record, indent=2))
        student = getattr(runner, 'student_average', None) or student_of(runner)
        save_released(student, self.folder / 'student.safetensors', preprocess=preprocess_of(model),
                      class_names=getattr(dataset, 'class_names', (getattr(dataset, 'metainfo', None) or {}).get('classes')),
                      facts={k: record[k] for k in ('config', 'data', 'epochs', 'seed', 'last', 'distillers', 'zoo', 'torch')})


def plain_config(value):
    """A config as JSON-able data; modules and classes become their names."""
    if isinstance(value, dict):
        return {str(k): plain_config(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_config(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, '__name__', type(value).__name__)


def preprocess_of(model) -> dict:
    """What the student's input must look like: ``input_shape`` (C, H, W), ``mean`` and ``std`` for pixels in 0..1."""
    facts = dict(input_shape=list(model.task.input_shape))
    for key in ('mean', 'std'):
        value = getattr(model.data_preprocessor, key, None)
        if value is not None:
            facts[key] = [round(float(v) / model.task.pixel_range, 6) for v in torch.as_tensor(value).flatten()]
    return facts


@HOOKS.register_module()
class FiniteHook(Hook):
    """On CUDA, looks for NaN each ``interval`` iterations and before anything is saved; the CPU looks at every step.

    Args:
        interval: iterations between two looks; each waits for the device.
    """
    priority = 'HIGH'

    def __init__(self, interval: int = 50):
        self.interval = interval

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (batch_idx + 1) % self.interval == 0:
            self.look(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self.look(runner)

    def after_train_epoch(self, runner) -> None:
        self.look(runner)

    def look(self, runner) -> None:
        model = bare(runner.model)
        if hasattr(model, 'assert_finite'):
            model.assert_finite()
