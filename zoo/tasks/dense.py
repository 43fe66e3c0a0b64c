"""What detection and segmentation share: networks of mmdet and mmseg, their own losses and predictions, taps by name.

The student's ``loss(inputs, data_samples)`` runs once a step, and its taps are caught on the way; the teacher runs as far as
the wanted taps ask, and no further: no loss, no assignment, no NMS.
"""
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from zoo.distillers.base import Batch, Distiller
from zoo.models.openmmlab import require, set_data_preprocessor
from zoo.registry import UnknownNameError, unknown
from zoo.taps import TapReader, Taps, split_view

from .base import Task
from .inputs import InputAdapter

#: methods of heads that compute losses or boxes from a network's outputs: float32 under autocast
PRECISE = ('loss_by_feat', 'loss_and_target', 'predict_by_feat')


def _listed(value: Any) -> Any:
    """Tuples of maps as lists."""
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value


def _full(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if type(value) in (list, tuple):
        return type(value)(_full(v) for v in value)
    return value


@contextmanager
def replaced(owner: nn.Module, method: str, wrap: Callable) -> Iterator[None]:
    """``wrap(original)`` in place of a method of one object. mmseg calls ``head.forward`` itself, which hooks do not see."""
    had, original = vars(owner).get(method), getattr(owner, method)
    vars(owner)[method] = wrap(original)
    try:
        yield
    finally:
        if had is None:
            del vars(owner)[method]
        else:
            vars(owner)[method] = had


@contextmanager
def precise_losses(network: nn.Module, device: str) -> Iterator[None]:
    """Within it the heads of ``network`` compute losses and boxes in float32, whatever autocast does to its layers."""
    if not torch.is_autocast_enabled(device):
        yield
        return

    def wrap(original):
        def in_float32(*args, **kwargs):
            with torch.autocast(device, enabled=False):
                return original(*(_full(a) for a in args), **{k: _full(v) for k, v in kwargs.items()})
        return in_float32

    with ExitStack() as stack:
        for module in network.modules():
            for method in PRECISE:
                if callable(getattr(module, method, None)):
                    stack.enter_context(replaced(module, method, wrap))
        yield


class Calls:
    """What passes through methods of a network during one pass.

    Args:
        points: ``(path, method)``: a module's path and the method to watch, such as ``('neck', 'forward')``.
    """

    def __init__(self, network: nn.Module, points: Iterable[tuple[str, str]]):
        self.network, self.points = network, tuple(dict.fromkeys(points))
        self.inputs: dict[tuple[str, str], list] = {point: [] for point in self.points}
        self.outputs: dict[tuple[str, str], list] = {point: [] for point in self.points}

    @contextmanager
    def watched(self) -> Iterator['Calls']:
        with ExitStack() as stack:
            for path, method in self.points:
                stack.enter_context(replaced(self.network.get_submodule(path), method, self._watch((path, method))))
            yield self

    def _watch(self, point: tuple[str, str]):
        def wrap(original):
            def call(*args, **kwargs):
                if args or kwargs:
                    self.inputs[point].append(args[0] if args else next(iter(kwargs.values())))
                result = original(*args, **kwargs)
                self.outputs[point].append(result)
                return result
            return call
        return wrap


class DenseTapReader(TapReader):
    """Reads taps of a detector or segmentor by name; see :class:`zoo.tasks.Detection` and :class:`zoo.tasks.Segmentation`.

    Any module's path is a name too (``:input`` for what goes in, ``.i`` for an element of a list): a module that is called
    more than once in a pass, such as a head's convolution, gives the list over its calls.

    Args:
        module: an mmdet or mmseg network; only referred to.
        prepare: what is done to the images before the network sees them, or None.
    """
    #: parts of the network in the order in which they run
    order: tuple[str, ...] = ('backbone', 'neck')

    def __init__(self, module: nn.Module, example: Tensor | None = None, prepare=None):
        super().__init__(module, None, prepare)

    # ---- what a kind of network adds

    def own_names(self) -> dict[str, str]:
        """Standard name -> part of the network that has to run for it."""
        return dict(backbone='backbone', neck='neck')

    def own_point(self, name: str) -> tuple[tuple[str, str], str, Callable | None]:
        """``((path, method), 'output' or 'input', what to make of it)`` of a standard name's root."""
        path = name if name == 'backbone' or getattr(self.module, 'with_neck', False) else 'backbone'
        return (path, 'forward'), 'output', lambda maps: [maps] if isinstance(maps, Tensor) else maps

    def run_to(self, parts: set[str], images: Tensor, data_samples: list | None) -> None:
        """Run the network as far as ``parts`` ask."""
        raise NotImplementedError

    def part_of(self, path: str) -> str:
        """The part of the network that a module path lies in, or ``'all'``."""
        root = path.split('.')[0]
        return root if root in ('backbone', 'neck') else 'all'

    # ---- reading

    def names(self) -> list[str]:
        """Names that can be read: the standard ones, then module paths."""
        return [*self.own_names(), *(path for path in self._modules if path)]

    def point(self, name: str) -> tuple[tuple[str, str], str, Callable | None, list[int], str]:
        """Where a tap is read: ``((path, method), side, transform, indices, part)``.

        Raises:
            UnknownNameError: with near names.
        """
        base, _, side = name.partition(':')
        own = self.own_names()
        root = max((n for n in own if base == n or base.startswith(f'{n}.')), key=len, default=None)
        if root is not None and side != 'input':
            rest = base[len(root):].strip('.')
            indices = rest.split('.') if rest else []
            if all(i.lstrip('-').isdigit() for i in indices):
                watched, own_side, transform = self.own_point(root)
                return watched, own_side, transform, [int(i) for i in indices], own[root]
        indices, path = [], base
        while path and path not in self._modules:
            path, _, last = path.rpartition('.')
            if not last.lstrip('-').isdigit():
                break
            indices.insert(0, int(last))
        if path not in self._modules or not path:
            raise UnknownNameError(unknown(f'tap of {type(self.module).__name__}', base, self.names()))
        return (path, 'forward'), side or 'output', None, indices, self.part_of(path)

    def _read(self, calls: Calls, name: str, point) -> Any:
        watched, side, transform, indices, _ = point
        values = (calls.inputs if side == 'input' else calls.outputs)[watched]
        if not values:
            raise UnknownNameError(f'Tap {name!r} was not reached in the forward pass of {type(self.module).__name__}.')
        if transform is not None:  # the last call: mmseg's cascades run a head again for the next one
            value = _listed(transform(values[-1]))
        else:
            value = _listed(values[0] if len(values) == 1 else values)
        for index in indices:
            try:
                value = value[index]
            except (IndexError, KeyError):
                raise UnknownNameError(f'Tap {name!r} does not exist: there are {len(value)} entries (0 to '
                                       f'{len(value) - 1}).') from None
        return value

    def _points(self, names: Iterable[str]) -> dict[str, tuple]:
        for name in names:
            if '@' in name:
                raise UnknownNameError(f'Tap {name!r}: detection and segmentation have no further views of an image.')
        return {name: self.point(name) for name in dict.fromkeys(names)}

    def __call__(self, images: Tensor, names: Iterable[str], data_samples: list | None = None) -> Taps:
        """Run the network as far as the taps ``names`` ask, without any loss, and return them.

        Args:
            images: ``(N, 3, H, W)``.
            data_samples: of the batch; only networks whose passes need more than images (two stages, queries) look at them.

        Raises:
            UnknownNameError: if a name does not exist, with the nearest names.
        """
        if self.prepare is not None:
            images = self.prepare(images, data_samples)
        points = self._points(names)
        calls = Calls(self.module, (p[0] for p in points.values()))
        with calls.watched():
            self.run_to({p[4] for p in points.values()}, images, data_samples)
        return Taps({name: self._read(calls, name, p) for name, p in points.items()}, run=self)

    def loss(self, images: Tensor, data_samples: list, names: Iterable[str]) -> tuple[Taps, dict]:
        """One pass with the network's own losses: the taps ``names``, and what the network's ``loss`` returned."""
        points = self._points(names)
        calls = Calls(self.module, (p[0] for p in points.values()))
        with calls.watched(), precise_losses(self.module, images.device.type):
            losses = self.module.loss(images, data_samples)
        return Taps({name: self._read(calls, name, p) for name, p in points.items()}, run=self), losses

    def shapes(self, names: Iterable[str], example: Tensor, run: Callable | None = None) -> dict[str, Any]:
        """Shapes of taps by a dry run in eval mode: ``torch.Size``, a list of them, or None for what exists in training only
        (``head.targets``)."""
        names = tuple(names)
        for name in names:
            self.point(name)
        measured = [split_view(n)[0] for n in names if not self.training_only(n)]
        with self._measuring():
            try:
                taps = (run or self)(example, measured) if measured else {}
            except (RuntimeError, AssertionError) as error:  # in_channels that do not fit what comes before, most often
                first = next((line.strip() for line in str(error).splitlines() if line.strip()), 'a size that does not fit')
                raise ValueError(
                    f'{type(self.module).__name__} cannot run on an image {tuple(example.shape[1:])}: {first} (check '
                    'in_channels of neck and heads against the backbone, and task.input_shape).') from error
        return {name: None if self.training_only(name) else _measure(dict.__getitem__(taps, name)) for name in names}

    def training_only(self, name: str) -> bool:
        """Whether a tap exists only in a pass with losses."""
        return False


def _measure(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_measure(v) for v in value]
    return getattr(value, 'shape', None)


class DenseInputAdapter(InputAdapter):
    """Turns padded images made for the student into images made for another network.

    Args:
        flip_channels: the other network wants the channels in the opposite order (RGB and BGR).
        pad_value: of the padding beside and below an image, which is set anew after the values were changed.
        **options: of :class:`InputAdapter`; means and deviations in one unit, such as 0..255.
    """

    def __init__(self, *args, flip_channels: bool = False, pad_value: float = 0.0, **options):
        super().__init__(*args, **options)
        self.flip_channels, self.pad_value = flip_channels, pad_value

    def forward(self, images: Tensor, data_samples: list | None = None) -> Tensor:
        size = images.shape[2:]
        images = super().forward(images.flip(1) if self.flip_channels else images)
        if self.changes_values and data_samples is not None:
            inside = torch.zeros_like(images[:, :1], dtype=torch.bool)
            for mask, sample in zip(inside, data_samples):
                height, width = sample.img_shape[:2]
                mask[:, :round(height * images.shape[2] / size[0]), :round(width * images.shape[3] / size[1])] = True
            images = images.masked_fill(~inside, self.pad_value)
        return images

    def describe(self, name: str) -> str:
        text = super().describe(name)
        flipped = 'its channels are in the opposite order (RGB, BGR)'
        if not self.flip_channels:
            return text
        return f'{text.removesuffix(".")}, and {flipped}.' if text else f'{name}: {flipped}.'


def statistics(preprocessor: nn.Module | None) -> tuple[list[float] | None, list[float] | None, bool]:
    """Mean, standard deviation (None where nothing is normalised) and whether the loader's channels are swapped, of a data
    preprocessor of mmengine, mmdet or mmseg."""
    flips = bool(getattr(preprocessor, '_channel_conversion', getattr(preprocessor, 'channel_conversion', False)))
    if not getattr(preprocessor, '_enable_normalize', False):
        return None, None, flips
    return preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist(), flips


def _told(mean: list[float] | None, std: list[float] | None, flips: bool) -> str:
    values = 'none' if mean is None else ' '.join(f'{v:g}' for v in mean) + ', std ' + ' '.join(f'{v:g}' for v in std)
    return f'mean {values}, channels {"swapped" if flips else "kept"}'


class DenseTask(Task):
    """Base of :class:`zoo.tasks.Detection` and :class:`zoo.tasks.Segmentation`.

    Args:
        num_classes: of the data.
        input_shape: ``(3, H, W)`` of a typical training image, for dry runs.
        loss_weight: of the network's own losses; 0 leaves them out.

    Raises:
        MissingPackageError: if mmdet or mmseg is not installed.
    """
    reader = DenseTapReader
    pixel_range = 255.0

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int] = (3, 320, 320), loss_weight: float = 1.0):
        require(self.package)
        if len(input_shape) != 3:
            raise ValueError(f'task.input_shape is (channels, height, width), not {tuple(input_shape)}.')
        self.num_classes, self.input_shape, self.loss_weight = num_classes, tuple(input_shape), loss_weight

    def adopt(self, student: nn.Module, data_preprocessor: nn.Module, config: dict | None) -> None:
        """The released student carries the preprocessing that it was trained with."""
        set_data_preprocessor(student, data_preprocessor, config)

    def default_preprocessor(self, student: nn.Module) -> nn.Module | None:
        """The student's own, of its config, where the run's config gives none."""
        own = getattr(student, 'data_preprocessor', None)
        return own if any(hasattr(own, key) for key in ('mean', 'pad_size_divisor', 'size')) else None

    def default_input(self, teacher: Mapping) -> str:
        """As they are, with a warning where the teacher's own config differs."""
        return 'unsaid'

    def has_weights(self, teacher: Mapping) -> bool:
        """Whether the config of a teacher names trained weights; ``pretrained`` is of its backbone alone."""
        return any(teacher.get(key) for key in ('checkpoint', 'weights'))

    def input_adapter(self, network: nn.Module, wanted: dict | str | None,
                      preprocessor: nn.Module) -> DenseInputAdapter | None:
        """What turns the student's images into those of ``network``, or None where it takes them as they are.

        Args:
            wanted: ``'own'``: as the data_preprocessor of its own config says; ``dict(mean, std, flip_channels, size)``, any
                of them, in the unit of the student's; None: as they are. Said nothing, a warning tells where they differ.

        Raises:
            ValueError: for other values.
        """
        mean, std, flips = statistics(preprocessor)
        own = statistics(getattr(network, 'data_preprocessor', None))
        if wanted == 'unsaid':
            if own[0] is not None and own != (mean, std, flips):
                print_log(
                    f'The config of the teacher {type(network).__name__} states other pixel statistics ({_told(*own)}) than '
                    f'this run ({_told(mean, std, flips)}), whose it is given. If its weights were trained with its own, set '
                    "model.teacher.input='own'; else model.teacher.input=None.", 'current', logging.WARNING)
            wanted = None
        if wanted is None:
            return None
        if wanted == 'own':
            wanted = dict(mean=own[0], std=own[1], flip_channels=own[2] != flips)
        elif not isinstance(wanted, dict) or set(wanted) - {'mean', 'std', 'size', 'flip_channels'}:
            raise ValueError("model.teacher.input is 'own', None or dict(mean=..., std=..., size=..., flip_channels=...), not "
                             f'{wanted!r}.')
        flip = wanted.get('flip_channels', False)
        if flip and mean is not None:  # the student's statistics, in the teacher's order
            mean, std = mean[::-1], std[::-1]
        size = wanted.get('size')
        adapter = DenseInputAdapter(mean, std, wanted.get('mean', mean), wanted.get('std', std),
                                    (size, size) if isinstance(size, int) else size, flip_channels=flip)
        return adapter if adapter.size is not None or adapter.changes_values or flip else None

    def batch(self, data: dict) -> Batch:
        """The preprocessed dict of the loader (``inputs``, ``data_samples``) as a :class:`Batch`."""
        data = dict(data)
        samples = data.pop('data_samples', None)
        if 'inputs' not in data or not isinstance(data['inputs'], Tensor):
            raise ValueError(f'{type(self).__name__} needs batches of {self.package}: let the pipeline end with '
                             f'{"PackDetInputs" if self.package == "mmdet" else "PackSegInputs"}, collate with '
                             "pseudo_collate, and set data_preprocessor (dict(type='mmdet.DetDataPreprocessor', ...)).")
        indices = [sample.metainfo.get('sample_idx') for sample in samples or []]
        images = data.pop('inputs')
        known = bool(indices) and all(isinstance(i, int) for i in indices)
        return Batch(images=images, labels=self.labels(samples),
                     indices=torch.tensor(indices, device=images.device) if known else None,
                     extra=dict(data, data_samples=samples))

    def labels(self, samples: list | None) -> Tensor | None:
        """Dense labels of a batch, or None."""
        return None

    def run(self, reader: DenseTapReader, batch: Batch, names: Iterable[str]) -> Taps:
        """The taps ``names`` of one network, without losses."""
        samples = batch.extra['data_samples']
        taps = reader(self.images_for(reader, batch), names, samples)
        return Taps(dict(taps), run=lambda images, names: reader(images, names, samples))

    def images_for(self, reader: DenseTapReader, batch: Batch) -> Tensor:
        """What a network is shown of a batch; a task whose teacher sees more than the images overrides it."""
        return batch.images

    def student_step(self, reader: DenseTapReader, batch: Batch, names: Iterable[str],
                     with_loss: bool = True) -> tuple[Taps, dict[str, Tensor], dict[str, Tensor]]:
        """One pass of the student: taps, the weighted terms of its own loss, and other scalars that it reports.

        Args:
            with_loss: False runs only as far as the taps ask, and there are no terms.
        """
        if not (with_loss and self.loss_weight):
            return self.run(reader, batch, names), {}, {}
        samples = batch.extra['data_samples']
        taps, losses = reader.loss(self.images_for(reader, batch), samples, names)
        terms, facts = {}, {}
        for name, value in losses.items():
            value = sum(v.mean() for v in value) if isinstance(value, (list, tuple)) else value.mean()
            if 'loss' in name:
                terms[name] = self.loss_weight * value
            else:
                facts[name] = value.detach()
        return Taps(dict(taps), run=lambda images, names: reader(images, names, samples)), terms, facts

    def predict(self, reader: DenseTapReader, batch: Batch, teacher_logits=None) -> list:
        """mmdet's or mmseg's data samples with predictions, for their metrics."""
        return reader.module.predict(self.images_for(reader, batch), batch.extra['data_samples'])

    def classes_of(self, network: nn.Module) -> int | None:
        """Classes that a network tells apart, or None where it does not say."""
        raise NotImplementedError

    def compares_classes(self, names: Iterable[str]) -> bool:
        """Whether one of the taps has a channel for each class."""
        raise NotImplementedError

    def check_classes(self, distillers: Mapping[str, Distiller], student: nn.Module, teacher: nn.Module | None,
                      student_shapes: Mapping, teacher_shapes: Mapping) -> None:
        """Refuse networks whose classes do not fit.

        Raises:
            ValueError: says which.
        """
        own = self.classes_of(student)
        if own is not None and own != self.num_classes:
            raise ValueError(f'The student has {own} classes and the data {self.num_classes}: set '
                             f'model.student.num_classes={self.num_classes}.')
        theirs = None if teacher is None else self.classes_of(teacher)
        for name, distiller in distillers.items():
            if theirs is not None and theirs != own and distiller.same_classes and \
                    self.compares_classes(distiller.needs.teacher):
                raise ValueError(
                    f'{name} compares class scores, but the teacher has {theirs} classes and the student {own}: set '
                    'model.teacher.num_classes and a checkpoint trained on these classes, or use a method on features.')
