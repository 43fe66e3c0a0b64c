"""What the engine costs: its training step against a bare loop, and the batched augmentation against per-image transforms.

Both sides are measured alternately in one process, so that a busy machine slows both; the ratio of medians is what
counts, its spread is that of the rounds.
"""
import copy
import itertools
import statistics
import tempfile
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from zoo.distillers import at_loss, dkd_loss, kd_loss
from zoo.models import build_network
from zoo.registry import HOOKS, OPTIMIZERS
from zoo.tasks.dense import DenseTask

#: method -> (the zoo's distiller, weight of the labels, the same loss by hand: (student taps, teacher taps, labels) -> scalar)
METHODS = dict(
    kd=(dict(type='KD', weight=0.9), 0.1, lambda s, t, y: 0.9 * kd_loss(s['logits'], t['logits'])),
    dkd=(dict(type='DKD', beta=8.0, warmup_epochs=0), 1.0,
         lambda s, t, y: dkd_loss(s['logits'], t['logits'], y, beta=8.0)),
    at=(dict(type='AT', weight=1000.0), 1.0, lambda s, t, y: 1000 * at_loss(s['feats'][1:], t['feats'][1:])))


@dataclass
class Speed:
    """Seconds of blocks of steps, alternately measured."""
    zoo: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    zoo_memory: int = 0
    bare_memory: int = 0

    @property
    def ratios(self) -> list[float]:
        """Zoo over bare, round by round."""
        return [a / b for a, b in zip(self.zoo, self.bare)]

    @property
    def ratio(self) -> float:
        """Median over rounds."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles of the rounds' ratios."""
        quarters = statistics.quantiles(self.ratios, n=4) if len(self.ratios) > 1 else [self.ratio] * 3
        return quarters[0], quarters[-1]


class _Bare:
    """The hand-written loop: same networks, same tensors, same optimiser."""

    def __init__(self, teacher, student, method: str, batches: list[dict], device: str, amp: str):
        self.distiller = METHODS[method]
        self.teacher = build_network(teacher, num_classes=100).to(device).eval().requires_grad_(False)
        self.student = build_network(student, num_classes=100).to(device).train()
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.names = ('logits', 'feats') if method == 'at' else ('logits',)
        self.batches = batches
        self.device, self.amp = device, amp
        self.scaler = torch.amp.GradScaler(device, enabled=amp == 'fp16')

    def steps(self, count: int) -> None:
        _, ce_weight, loss_function = self.distiller
        dtype = dict(fp16=torch.float16, bf16=torch.bfloat16).get(self.amp)
        for batch in itertools.islice(itertools.cycle(self.batches), count):
            images = batch['images'].to(self.device, non_blocking=True)
            labels = batch['labels'].to(self.device, non_blocking=True)
            with torch.autocast(self.device, dtype=dtype, enabled=self.amp != 'off'):
                with torch.no_grad():
                    teacher = self.teacher.forward_taps(images, names=self.names)
                student = self.student.forward_taps(images, names=self.names)
            student, teacher = _float(student), _float(teacher)
            loss = ce_weight * F.cross_entropy(student['logits'], labels) + loss_function(student, teacher, labels)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()


def _float(taps: dict) -> dict:
    return {k: [x.float() for x in v] if isinstance(v, list) else v.float() for k, v in taps.items()}


class _Batches(torch.utils.data.Dataset):
    """Whole batches, already made."""

    def __init__(self, batches: list[dict]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict:
        return self.batches[index]


@HOOKS.register_module()
class BlockClock(Hook):
    """After each block of iterations of the zoo's loop, run and time the same block of the bare loop."""
    priority = 'LOWEST'

    def __init__(self, bare: _Bare, speed: Speed, block: int, device: str):
        self.bare, self.speed, self.block, self.device = bare, speed, block, device

    def _now(self) -> float:
        if self.device == 'cuda':
            torch.cuda.synchronize()
        elif hasattr(self.speed, 'maths'):
            return time.process_time()
        return time.perf_counter()

    def before_train_epoch(self, runner) -> None:
        if self.device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        self.start = self._now()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (batch_idx + 1) % self.block:
            return
        self.speed.zoo.append(self._now() - self.start)
        if self.device == 'cuda':
            self.speed.zoo_memory = max(self.speed.zoo_memory, torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        start = self._now()
        self.bare.steps(self.block)
        self.speed.bare.append(self._now() - start)
        if hasattr(self.speed, 'maths'):
            start = self._now()
            self.bare.maths(self.block)
            self.speed.maths.append(self._now() - start)
        if self.device == 'cuda':
            self.speed.bare_memory = max(self.speed.bare_memory, torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        self.start = self._now()


def measure_step(teacher: str, student: str, method: str, *, batch_size: int = 64, block: int = 10, rounds: int = 20,
                 size: int = 32, amp: str = 'off') -> Speed:
    """Time the zoo's full loop (Runner, hooks, taps, logging) against the bare one.

    Args:
        teacher, student: names of networks.
        method: of :data:`METHODS`.
        block, rounds: steps a block, and blocks of each side after one of warm-up.
    """
    from .runner import Runner
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    batches = [dict(images=torch.randn(batch_size, 3, size, size), labels=torch.randint(100, (batch_size,)))
               for _ in range(4)]
    bare = _Bare(dict(type=teacher), dict(type=student), method, batches, device, amp)
    bare.steps(3)
    speed = Speed()
    distiller, ce_weight, _ = METHODS[method]
    loader = torch.utils.data.DataLoader(_Batches([batches[i % 4] for i in range(block * (rounds + 1))]),
                                         batch_size=1, collate_fn=lambda samples: samples[0])
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(Config(dict(
            default_scope='zoo', work_dir=folder, randomness=dict(seed=0),
            model=dict(type='Distillation', teacher=dict(type=teacher, untrained=True), student=dict(type=student),
                       distillers=[copy.deepcopy(distiller)],
                       task=dict(type='Classification', num_classes=100, input_shape=(3, size, size), loss_weight=ce_weight),
                       data_preprocessor=dict(type='BatchPreprocessor')),
            train_dataloader={}, train_cfg=dict(type='EpochLoop', max_epochs=1),
            optim_wrapper=dict(type='OptimWrapper', constructor='OptimWrapperConstructor', amp=amp,
                               optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)),
            param_scheduler=[dict(type='MultiStepLR', milestones=[150], by_epoch=True)],
            default_hooks=dict(checkpoint=None))))
        runner._train_dataloader = loader
        runner.register_hook(BlockClock(bare, speed, block, device))
        runner.train()
    speed.zoo, speed.bare = speed.zoo[1:], speed.bare[1:]
    return speed


@dataclass
class DistillationCost(Speed):
    """Seconds (on the CPU: of its time, which other programs do not lengthen) of blocks of steps: the zoo's whole step
    (``zoo``), the teacher's forward pass and the student's own step by hand (``bare``), and the distillers' terms with their
    backward pass (``maths``)."""
    maths: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """(zoo - maths) / bare, round by round."""
        return [(a - m) / b for a, b, m in zip(self.zoo, self.bare, self.maths)]


class _BareDense:
    """By hand, on copies of a config's networks: the teacher up to what is read of it, and the student's own training step;
    and apart from that what the distillers compute."""

    def __init__(self, model, batches: list, config: Config, device: str, amp: str):
        self.model = copy.deepcopy(model)
        # copies of the frozen networks, which the model keeps outside of its modules
        self.model.to(device)
        self.batches, self.device = batches, device
        self.dtype = dict(fp16=torch.float16, bf16=torch.bfloat16).get(amp)
        self.scaler = torch.amp.GradScaler(device, enabled=amp == 'fp16')
        self.clip = config.optim_wrapper.get('clip_grad')
        self.optimizer = OPTIMIZERS.build(dict(config.optim_wrapper.optimizer, params=list(self.model.student.parameters())))
        names = self.model._names('teacher')
        self.parts = {self.model.teacher_reader.point(name)[4] for name in names}
        self.taps: list[tuple] | None = None

    def _batch(self, data):
        return self.model.task.batch(self.model.data_preprocessor(data, training=True))

    def steps(self, count: int) -> None:
        model = self.model
        for data in itertools.islice(itertools.cycle(self.batches), count):
            batch = self._batch(copy.deepcopy(data))
            with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None):
                with torch.no_grad():
                    reader = model.teacher_reader
                    images = batch.images if reader.prepare is None else reader.prepare(batch.images, None)
                    if self.parts:
                        reader.run_to(self.parts, images, batch.extra['data_samples'])
                losses = model.student.loss(batch.images, batch.extra['data_samples'])
            loss = sum(sum(v.mean() for v in value) if isinstance(value, (list, tuple)) else value.mean()
                       for name, value in losses.items() if 'loss' in name)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            if self.clip:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(model.student.parameters(), **self.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _record(self) -> None:
        """The taps of each batch, cut off from the networks."""
        model, self.taps = self.model, []
        for data in self.batches:
            batch = self._batch(copy.deepcopy(data))
            with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None):
                teacher = model._run_teacher(batch)
                student, *_ = model.task.student_step(model.student_reader, batch, model._names('student'))
            self.taps.append((batch, _cut(student), teacher))

    def maths(self, count: int) -> None:
        """The distillers' terms and their gradients by the taps, without the networks."""
        model = self.model
        if self.taps is None:
            self._record()
        for batch, student, teacher in itertools.islice(itertools.cycle(self.taps), count):
            terms = [model.weights[name](model.progress) * value for name, distiller in model.distillers.items()
                     for value in distiller(student, teacher, batch, model.progress).values()]
            loss = sum(terms)
            if isinstance(loss, torch.Tensor) and loss.requires_grad:
                loss.backward()


def _cut(value):
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        cut = type(value)({k: _cut(dict.__getitem__(value, k)) for k in value})
        cut.run = getattr(value, 'run', None)
        return cut
    return [_cut(v) for v in value] if isinstance(value, (list, tuple)) else value


def measure_config(config: Config, *, block: int = 4, rounds: int = 8, amp: str = 'off', batches: int = 4) -> DistillationCost:
    """Time a detection or segmentation config's step, on batches of its own data, against its parts.

    Args:
        config: as :func:`zoo.engine.prepare_config` returns it.
        block, rounds: steps a block, and blocks of each side after one of warm-up.
        amp: ``'off'``, ``'bf16'`` or ``'fp16'``.
        batches: of the training set that are used, again and again.

    Raises:
        ValueError: for a config of another task, or without a teacher.
    """
    from .runner import Runner
    if not config.model.get('teacher') or not config.model.get('distillers'):
        raise ValueError('There is nothing to compare: the config has no teacher or no distillers.')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator', 'custom_hooks'):
        config.pop(key, None)
    config.optim_wrapper.amp = amp
    config.train_cfg = dict(type='EpochLoop', max_epochs=1)
    config.param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=True)]
    config.default_hooks = dict(checkpoint=None)
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = Runner.from_cfg(config)
        if not isinstance(runner.bare_model.task, DenseTask):
            raise ValueError(f'--config measures detection and segmentation, not {type(runner.bare_model.task).__name__}: for '
                             'classification give --pairs and --methods.')
        loader = runner.build_dataloader(config.train_dataloader)
        data = list(itertools.islice(iter(loader), batches))
        if not data:
            raise ValueError('The training set gives no batch.')
        bare = _BareDense(runner.bare_model, data, config, device, amp)
        bare.model.train()
        speed = DistillationCost()
        bare.steps(2)
        bare.maths(2)
        runner._train_dataloader = torch.utils.data.DataLoader(
            _Batches([data[i % len(data)] for i in range(block * (rounds + 1))]), batch_size=1,
            collate_fn=lambda samples: copy.deepcopy(samples[0]))
        runner.register_hook(BlockClock(bare, speed, block, device))
        runner.train()
    speed.zoo, speed.bare, speed.maths = speed.zoo[1:], speed.bare[1:], speed.maths[1:]
    return speed


def measure_memory(teacher: str, student: str, method: str, *, batch_size: int = 64, size: int = 32) -> dict[str, int]:
    """Bytes that one training step holds at its peak, by torch's own count of tensors: the student alone, and the zoo's
    distillation step; with the teacher's weights and the taps that are read, for comparison."""
    from zoo.tasks import Distillation

    from .optim import OptimWrapper
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    batch = dict(images=torch.randn(batch_size, 3, size, size), labels=torch.randint(100, (batch_size,)))
    distiller, ce_weight, _ = METHODS[method]

    def peak(distillers: list) -> tuple[int, Distillation]:
        model = Distillation(
            student=dict(type=student), teacher=dict(type=teacher, untrained=True) if distillers else None,
            distillers=distillers, data_preprocessor=dict(type='BatchPreprocessor'),
            task=dict(type='Classification', num_classes=100, input_shape=(3, size, size), loss_weight=ce_weight or 1.0))
        model.to(device)
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
        model.train()
        for _ in range(2):
            model.train_step(batch, optimizer)
        return _peak_bytes(lambda: model.train_step(batch, optimizer), device), model

    alone, _ = peak([])
    distilled, model = peak([copy.deepcopy(distiller)])
    weights = sum(t.numel() * t.element_size() for t in model.teacher.state_dict().values())
    taps = 0
    example = torch.zeros(batch_size, 3, size, size, device=device)
    for reader, names in ((model.teacher_reader, model._names('teacher')),):
        with torch.no_grad():
            for value in reader(example, names).values():
                taps += sum(t.numel() * t.element_size() for t in (value if isinstance(value, list) else [value]))
    return dict(student_alone=alone, distillation=distilled, teacher_weights=weights, teacher_taps=taps)


def _peak_bytes(step, device: str) -> int:
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    now = top = 0
    for event in sorted((e for e in profiler.profiler.kineto_results.events() if e.name() == '[memory]'),
                        key=lambda e: e.start_ns()):
        now += event.nbytes()
        top = max(top, now)
    return top


def measure_augmentation(count: int = 50_000, batch_size: int = 64, seconds: float = 5.0) -> dict[str, float]:
    """Images/s of the batched crop-flip-normalise on uint8 batches, and of torchvision's per-image pipeline with two
    workers, each for about ``seconds``, alternately, three times; medians."""
    import numpy as np
    from PIL import Image
    from torchvision import transforms

    from zoo.data import ArrayDataset, BatchPreprocessor, collate_batch

    images = np.random.RandomState(0).randint(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.zeros(count, dtype=np.int64)
    mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)

    class PerImage(torch.utils.data.Dataset):
        pipeline = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(),
                                       transforms.ToTensor(), transforms.Normalize(mean, std)])

        def __len__(self):
            return count

        def __getitem__(self, index):
            return self.pipeline(Image.fromarray(images[index])), 0

    preprocess: nn.Module = BatchPreprocessor(mean, std, augment=[dict(type='RandomCropFlip', padding=4)])
    batched = torch.utils.data.DataLoader(ArrayDataset(images, labels), batch_size=batch_size, shuffle=True,
                                          collate_fn=collate_batch)
    single = torch.utils.data.DataLoader(PerImage(), batch_size=batch_size, shuffle=True, num_workers=2)

    def rate(loader, use) -> float:
        done, start = 0, None
        for position, batch in enumerate(loader):
            use(batch)
            if position == 2:  # the workers have started
                start = time.perf_counter()
            elif start is not None:
                done += batch_size
                if time.perf_counter() - start > seconds:
                    break
        return done / (time.perf_counter() - start)

    rates: dict[str, list[float]] = dict(batched=[], torchvision=[])
    for _ in range(3):
        rates['batched'].append(rate(batched, lambda b: preprocess(b, training=True)))
        rates['torchvision'].append(rate(single, lambda b: None))
    return {name: statistics.median(values) for name, values in rates.items()}
