"""The model that a run trains: a student, its frozen teacher, and the distillers between them."""
import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from zoo.distillers.base import Progress, Shapes, WeightSchedule
from zoo.models import build_network
from zoo.registry import DISTILLERS, MODELS, TASKS, UnknownNameError, unknown

from .base import Task


class NonFiniteLossError(RuntimeError):
    """A term of the loss became NaN or infinite."""


def _build_teacher(cfg, num_classes: int | None) -> nn.Module:
    try:
        return build_network(cfg, num_classes=num_classes)
    except FileNotFoundError as error:
        path = cfg.get('checkpoint')
        path = Path(path['path'] if isinstance(path, dict) else path)
        hint = 'Set model.teacher.checkpoint to a file with its weights.'
        if path.parts[:1] == ('work_dirs',):
            config = Path('configs', *path.parts[1:-1]).with_suffix('.py')
            hint = f'Train the teacher first: python tools/train.py {config} (or set model.teacher.checkpoint=PATH).'
        raise FileNotFoundError(f'The teacher has no weights: {error} {hint}') from None


def inherit_weights(student: nn.Module, teacher: nn.Module | None, parts: Iterable[str]) -> None:
    """Copy the teacher's weights of some modules into the student's.

    Args:
        parts: module paths that both have, such as ``('neck', 'bbox_head')``.

    Raises:
        ValueError: if there is no teacher, or shapes or keys differ; says which.
        UnknownNameError: for a module that one of them lacks.
    """
    if teacher is None:
        raise ValueError(f'model.inherit is {list(parts)}, but model.teacher is None.')
    for part in parts:
        for side, network in (('student', student), ('teacher', teacher)):
            known = [name for name, _ in network.named_modules()]
            if part not in known:
                raise UnknownNameError(unknown(f'module of the {side} to inherit', part, known))
        own, theirs = student.get_submodule(part).state_dict(), teacher.get_submodule(part).state_dict()
        lacking = sorted(set(own) ^ set(theirs))
        if lacking:
            raise ValueError(f'model.inherit: {part} of student and teacher are not alike; only one has '
                             f'{", ".join(f"{part}.{key}" for key in lacking[:4])}.')
        for key, value in own.items():
            if value.shape != theirs[key].shape:
                raise ValueError(f'model.inherit: {part}.{key} is {list(theirs[key].shape)} in the teacher and '
                                 f'{list(value.shape)} in the student.')
        student.get_submodule(part).load_state_dict(theirs)


@MODELS.register_module()
class Distillation(BaseModel):
    """Task loss of a student plus weighted distillers that read taps of teacher and student.

    The teacher is kept outside the module tree: it moves with the model, stays in eval mode without gradient, and is in no
    optimiser, checkpoint, average or released file.

    Args:
        student: a network (config of MODELS or a module).
        teacher: likewise, with a ``checkpoint`` (or ``pretrained=True``); ``untrained=True`` in its config allows random
            weights, ``input=dict(mean, std, size)`` or ``input='own'`` (the default with ``pretrained=True``) gives it
            images of its own size and statistics. None where no distiller needs one.
        distillers: configs of DISTILLERS, each with an optional ``weight`` (see :class:`WeightSchedule`) and ``name``.
        task: config of TASKS.
        data_preprocessor: what turns a loader's batch into the networks' input, on the device.
        inherit: modules of the teacher, such as ``('neck', 'bbox_head')``, whose weights the student starts from; also as
            ``inherit`` in the student's config.

    Raises:
        ValueError: if the teacher has no weights, classes differ, or taps do not fit a distiller: all before the first step.
    """

    def __init__(self, student, teacher=None, distillers: Sequence[dict] = (), task: dict | Task | None = None,
                 data_preprocessor: dict | nn.Module | None = None, inherit: Sequence[str] = ()):
        if task is None:
            raise ValueError('A Distillation needs a task, such as task=dict(type="Classification", num_classes=10).')
        task = TASKS.build(task) if isinstance(task, dict) else task  # first: it may bring the package of all the others
        preprocessor_config = data_preprocessor if isinstance(data_preprocessor, dict) else None
        if preprocessor_config is not None:
            data_preprocessor = MODELS.build({'_scope_': 'zoo', **data_preprocessor})  # whatever scope another package has set
        super().__init__(data_preprocessor=data_preprocessor)
        self.task = task
        num_classes = task.num_classes
        if not isinstance(student, (str, nn.Module)):
            student = dict(student)
            inherit = student.pop('inherit', inherit)
        student = build_network(student, num_classes=num_classes)
        if data_preprocessor is None:
            own = task.default_preprocessor(student)
            self.data_preprocessor = self.data_preprocessor if own is None else own
        self._frozen: list[nn.Module] = []
        teacher_input = None
        if teacher is not None:
            if not isinstance(teacher, nn.Module):
                teacher = dict(teacher)
                teacher_input = teacher.pop('input', task.default_input(teacher))
                if not teacher.pop('untrained', False) and not task.has_weights(teacher):
                    raise ValueError(
                        f'The teacher {teacher.get("type")} has random weights: set model.teacher.checkpoint=PATH (train one '
                        'with a config of configs/<task>/vanilla), pretrained=True for a timm model, or '
                        'model.teacher.untrained=True if you mean it.')
            teacher = _build_teacher(teacher, num_classes)
        elif any(DISTILLERS.get(d['type']).needs_teacher for d in distillers):
            names = ', '.join(str(d['type']) for d in distillers)
            raise ValueError(f'model.distillers has {names} but model.teacher is None: set model.teacher, or remove them.')

        self.distillers = nn.ModuleDict()
        self.weights: dict[str, WeightSchedule] = {}
        for cfg in distillers:
            cfg = dict(cfg)
            weight, name = cfg.pop('weight', 1.0), cfg.pop('name', None)
            distiller = DISTILLERS.build(cfg)
            slug = type(distiller).__module__.rpartition('.')[2]
            name = name or slug
            name = name if name not in self.distillers else f'{name}_{len(self.distillers) + 1}'
            self.distillers[name] = distiller
            self.weights[name] = WeightSchedule(weight)
        if inherit:
            inherit_weights(student, teacher, (inherit,) if isinstance(inherit, str) else inherit)
        self._adapt(student, teacher, num_classes, teacher_input)
        task.adopt(self.student, self.data_preprocessor, preprocessor_config)
        for network in (self.student, self.teacher):
            if hasattr(network, 'normalised_by'):  # it makes a part of its input itself
                network.normalised_by(self.data_preprocessor)
        rules = [d.gradient_rule for d in self.distillers.values() if d.gradient_rule is not None]
        if len(rules) > 1:
            raise ValueError('Two distillers of model.distillers each set their own gradient rule: only one may.')
        self.gradient_rule = rules[0] if rules else None
        self.progress = Progress()
        self.teacher_memory: dict[int, Tensor] | None = None
        self._broken: Tensor | None = None
        self._last_terms: list[str] = []
        self._facts: dict[str, Tensor] = {}

    # ---- construction

    def _adapt(self, student: nn.Module, teacher: nn.Module | None, num_classes: int | None, teacher_input) -> None:
        example = self.task.example()
        teacher_names = self._names('teacher')
        if teacher is not None:
            for distiller in self.distillers.values():
                distiller.adapt_teacher(teacher)
            teacher.requires_grad_(False).eval()
            self._frozen = [teacher]
            adapter = self._adapter(teacher, teacher_input)
            if adapter is not None:
                self._frozen.append(adapter)
                print_log(adapter.describe('The teacher'), 'current', logging.WARNING)
            self.teacher_reader = self.task.reader(teacher, example, adapter)
            teacher_shapes = self.task.shapes(self.teacher_reader, teacher_names)
        else:
            self.teacher_reader, teacher_shapes = None, {}
        for distiller in self.distillers.values():
            reader = self.task.reader(student, example)
            shapes = {}
            for name in distiller.needs.student:
                try:
                    shapes.update(self.task.shapes(reader, [name]))
                except UnknownNameError:  # a tap that exists only after the change; checked again below
                    continue
            student = distiller.adapt_student(student, teacher, Shapes(
                shapes, teacher_shapes, num_classes, student_net=reader, teacher_net=self.teacher_reader))
        self.student = student
        self.student_reader = self.task.reader(student, example)
        student_shapes = self.task.shapes(
            self.student_reader, dict.fromkeys((*self.task.tap_names, *self._names('student'))))
        self.task.check_classes(dict(self.distillers.items()), student, teacher, student_shapes, teacher_shapes)
        for distiller in self.distillers.values():
            distiller.build(Shapes(
                {name: student_shapes[name] for name in distiller.needs.student},
                {name: teacher_shapes[name] for name in distiller.needs.teacher},
                num_classes, student_net=self.student_reader, teacher_net=self.teacher_reader,
                image_shape=tuple(example.shape[1:]), adapt_input=self._adapter))

    def _adapter(self, network: nn.Module, wanted) -> nn.Module | None:
        return self.task.input_adapter(network, wanted, self.data_preprocessor)

    def _names(self, side: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for d in self.distillers.values() for n in getattr(d.needs, side)))

    @property
    def teacher(self) -> nn.Module | None:
        """The frozen teacher, or None."""
        return self._frozen[0] if self._frozen else None

    def _apply(self, fn, recurse: bool = True):
        for module in self._frozen:
            module._apply(fn)
        return super()._apply(fn, recurse)

    def prepare(self, training_set) -> None:
        """Let every distiller make its passes over the training set (:meth:`Distiller.prepare`)."""
        for distiller in self.distillers.values():
            distiller.prepare(training_set)

    # ---- one step

    def forward(self, data: dict, mode: str = 'loss'):
        """Run on a preprocessed batch.

        Args:
            data: as :attr:`data_preprocessor` returns it.
            mode: ``'loss'``: weighted terms by name; ``'predict'``: a list of one dict for the metrics (``logits``,
                ``labels``, ``teacher_logits``); ``'tensor'``: the student's output.
        """
        batch = self.task.batch(data)
        if mode == 'tensor':
            return self.student(batch.images)
        if mode == 'predict':
            return self.task.predict(self.student_reader, batch, self._remembered_teacher if self.teacher is not None else None)
        if mode != 'loss':
            raise ValueError(f"mode is 'loss', 'predict' or 'tensor', not {mode!r}.")
        self._check_batch(batch)
        # the teacher first: what its pass needs is free again before the student's activations are kept
        teacher = self._run_teacher(batch)
        factor = math.prod(d.task_weight(self.progress) for d in self.distillers.values())
        student, terms, self._facts = self.task.student_step(self.student_reader, batch, self._names('student'), bool(factor))
        with torch.autocast(batch.images.device.type, enabled=False):
            terms = {name: factor * value for name, value in terms.items()}
            self._last_terms = list(terms)
            for name, distiller in self.distillers.items():
                weight = self.weights[name](self.progress)
                for term, value in distiller(student, teacher, batch, self.progress).items():
                    key = name if term == name else f'{name}.{term}'
                    terms[key] = weight * value
        if not terms:
            raise ValueError('The loss has no term: task.loss_weight is 0 and model.distillers is empty.')
        return terms

    def _check_batch(self, batch) -> None:
        for name, distiller in self.distillers.items():
            if distiller.needs.indices and batch.indices is None:
                raise ValueError(f'{name} needs the samples\' positions in the data set (`indices`), which this data set does '
                                 'not give: use a data set of zoo.data.')
            if distiller.needs.labels and batch.labels is None:
                raise ValueError(f'{name} needs labels, and this data set has none.')

    def _run_teacher(self, batch):
        names = self._names('teacher')
        if not names:
            return {}
        if any(d.needs.teacher_graph for d in self.distillers.values()):
            batch = type(batch)(**{**vars(batch), 'images': batch.images.detach().requires_grad_()})
            return self.task.run(self.teacher_reader, batch, names)
        with torch.no_grad():
            return self.task.run(self.teacher_reader, batch, names)

    def _remembered_teacher(self, batch) -> Tensor:
        """The frozen teacher's logits; kept between evaluations of one loop, whose transform is deterministic."""
        if self.teacher_memory is None or batch.indices is None:
            return self.teacher_reader(batch.images, ['logits'])['logits']
        keys = batch.indices.tolist()
        if not all(key in self.teacher_memory for key in keys):
            rows = self.teacher_reader(batch.images, ['logits'])['logits'].cpu()
            self.teacher_memory.update(zip(keys, rows))
        return torch.stack([self.teacher_memory[key] for key in keys]).to(batch.images.device)

    def train_step(self, data, optim_wrapper, call: nn.Module | None = None) -> dict[str, Tensor]:
        """One optimisation step on a batch of the loader; returns the detached terms and their sum ``loss``.

        Args:
            call: the distributed wrapper around this model, whose forward synchronises gradients.

        Raises:
            NonFiniteLossError: on the CPU before the weights are touched; on CUDA at the next :meth:`assert_finite`.
        """
        call = self if call is None else call
        data = self.data_preprocessor(data, training=True)
        # with a gradient rule the wrapper's own synchronisation, which expects one backward pass, stays out of it
        quiet = call.no_sync() if self.gradient_rule is not None and hasattr(call, 'no_sync') else nullcontext()
        with quiet:
            with optim_wrapper.optim_context(call):
                terms = call(data, mode='loss')
            total = sum(terms.values())
            self._watch(terms, total)
            if self.gradient_rule is None:
                optim_wrapper.update_params(total)
            else:
                own = [v for k, v in terms.items() if k in self._last_terms]
                other = [v for k, v in terms.items() if k not in self._last_terms]
                optim_wrapper.update_params_by_rule(sum(own), sum(other), self.gradient_rule)
        return {**{name: value.detach() for name, value in terms.items()}, 'loss': total.detach(), **self._facts}

    def val_step(self, data) -> list[dict]:
        data = self.data_preprocessor(data, training=False)
        return self(data, mode='predict')

    test_step = val_step

    # ---- guarding against NaN

    def _watch(self, terms: dict[str, Tensor], total: Tensor) -> None:
        if total.device.type == 'cpu':
            if not torch.isfinite(total):
                self._raise_non_finite({k: v.item() for k, v in terms.items()})
            return
        values = torch.stack([v.detach().float() for v in terms.values()])
        if self._broken is None or self._broken[0] != tuple(terms):
            self._broken = (tuple(terms), torch.zeros_like(values, dtype=torch.bool))
        self._broken[1].logical_or_(~torch.isfinite(values))

    def assert_finite(self) -> None:
        """Raise if a step since the last call had a term that was not finite (CUDA: this waits for the device).

        Raises:
            NonFiniteLossError: with the term's name.
        """
        if self._broken is None:
            return
        names, flags = self._broken
        self._broken = None
        flags = flags.tolist()
        if any(flags):
            self._raise_non_finite({k: float('nan') if bad else 0.0 for k, bad in zip(names, flags)})

    def _raise_non_finite(self, terms: dict[str, float]) -> None:
        bad = [name for name, value in terms.items() if not torch.isfinite(torch.tensor(value))]
        where = f'epoch {self.progress.epoch}, iteration {self.progress.iteration + 1}'
        raise NonFiniteLossError(
            f'The loss is not finite at {where}: {", ".join(f"{n} = {terms[n]}" for n in bad) or "their sum overflows"}. '
            'Lower the learning rate or the weight of that term, clip gradients (optim_wrapper.clip_grad), or try '
            '--amp bf16 or off.')

    # ---- for the optimiser

    def param_groups(self) -> Iterable[tuple[str, dict]]:
        """``(name, group)`` of the distillers' trainable parts."""
        for name, distiller in self.distillers.items():
            for group in distiller.param_groups():
                yield f'distillers.{name}', group
