"""Reading a tensor inside any network by a name, without editing the network.

Names:

``logits``, ``pooled``, ``final_map``, ``tokens``
    the output; the input of the classifier ``(N, C)``; the map that is globally pooled ``(N, C, H, W)``; a
    transformer's final tokens ``(N, L, D)``.
``stages``, ``stages.2``, ``stages.-1``
    the list of the stages' output maps, shallow to deep, or one of them.
``feats``, ``preact_stages``, ``preact_feats``, each also with an index
    the same with the stem in front; the same before each stage's last ReLU.
``layer3.0.conv1``, ``neck.1``, ``fc:input``
    output (or input) of a module by its path; an index behind the path picks an element of a list or tuple.

Detectors and segmentors of mmdet and mmseg have names of their own (:mod:`zoo.tasks.dense`): ``backbone.1``, ``neck.0``,
``head.cls_scores``, ``decode_features``, ...

Any of them with ``@view`` behind it (``logits@strong``) is read on that view of the batch.

>>> reader = TapReader(net)
>>> reader.shapes(['stages', 'logits'], torch.zeros(2, 3, 32, 32))
>>> taps = reader(images, ['stages.-1', 'logits'])
>>> taps['logits'].shape
"""
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.registry import UnknownNameError, unknown

LISTS = {'stages': 'feats', 'feats': 'feats', 'preact_stages': 'preact_feats', 'preact_feats': 'preact_feats'}


def _float(value):
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, (list, tuple)):
        return [_float(v) for v in value]
    return value


class Taps(dict):
    """Named tensors of one pass; half precision becomes float32 when a tap is read.

    ``run(images, names)`` is a further pass of the same network under the same autocast and gradient mode.

    Raises:
        UnknownNameError: for a tap that was not asked for, with the nearest names.
    """

    def __init__(self, values: dict[str, Any], run: Callable[..., 'Taps'] | None = None):
        super().__init__(values)
        self.run = run

    def __getitem__(self, name: str):
        return _float(super().__getitem__(name))

    def __missing__(self, name: str):
        raise UnknownNameError(unknown('tap', name, self))


def split_view(name: str) -> tuple[str, str]:
    """``'logits@strong'`` to ``('logits', 'strong')``; the ordinary view is the empty string."""
    tap, _, view = name.partition('@')
    return tap, view


class TapReader:
    """Reads named taps of one network.

    A network may offer its own names by ``forward_taps(x, names) -> dict`` (see :mod:`zoo.models`); everything else,
    and every module path, is read by a forward hook that lives for one pass.

    Args:
        module: the network; only referred to, never registered anywhere.
        example: an input ``(N, C, H, W)`` for the dry run that finds ``pooled``, ``final_map`` and the stages of a
            network without ``forward_taps``.
        prepare: what is done to the images before the network sees them (another size, other statistics), or None.
    """

    def __init__(self, module: nn.Module, example: Tensor | None = None,
                 prepare: Callable[[Tensor], Tensor] | None = None):
        self.module = module
        self.prepare = prepare
        self.named_taps = hasattr(module, 'forward_taps')
        self.points: dict[str, tuple[str, str]] = {}
        if not self.named_taps and example is not None:
            from zoo.models.tap_points import generic_tap_points
            with self._measuring():
                self.points = generic_tap_points(module, example if prepare is None else prepare(example))
        self._modules = dict(module.named_modules())

    @property
    def stem_feats(self) -> int:
        """How many entries of ``feats`` belong to the stem, before the first stage."""
        return getattr(self.module, 'stem_feats', 1 if self.named_taps else 0)

    @property
    def num_prefix_tokens(self) -> int:
        """Class and register tokens in front of the patch tokens."""
        return getattr(self.module, 'num_prefix_tokens', 0)

    @property
    def classifier(self) -> nn.Module:
        """The final linear layer.

        Raises:
            ValueError: if the network names none and none is found.
        """
        path = getattr(self.module, 'classifier_name', None)
        if path is None and 'pooled' in self.points:
            path = self.points['pooled'][0]
        if path is None:
            linear = [name for name, m in self.module.named_modules() if isinstance(m, nn.Linear)]
            if not linear:
                raise ValueError(f'{type(self.module).__name__} has no final linear layer; set its `classifier_name`.')
            path = linear[-1]
        return self.module.get_submodule(path)

    def names(self) -> list[str]:
        """Names that can be read: the network's own first, then module paths."""
        own = ['logits', 'pooled', 'final_map', 'tokens', 'stages', 'preact_stages', 'feats', 'preact_feats']
        if not self.named_taps:
            own = ['logits', *self.points]
        return own + [path for path in self._modules if path]

    def __call__(self, images: Tensor, names: Iterable[str]) -> Taps:
        """Run the network once and return the taps ``names`` (without views).

        Raises:
            UnknownNameError: if a name does not exist, with the nearest names.
        """
        names = tuple(dict.fromkeys(names))
        if self.prepare is not None:
            images = self.prepare(images)
        own, hooked = [], {}
        for name in names:
            base, _, side = name.partition(':')
            root = base.split('.')[0]
            if self.named_taps and root in ('logits', 'pooled', 'final_map', 'tokens', *LISTS) or name == 'logits':
                own.append(name)
            else:
                hooked[name] = self._hook_point(base, side)
        values, handles = {}, []
        try:
            for name, points in hooked.items():
                for position, (path, side, index) in enumerate(points):
                    handles.append(self._hook(path, side, index, values, name, position if name in LISTS else None))
            if self.named_taps and own:
                roots = tuple(dict.fromkeys(LISTS.get(n.split('.')[0], n.split('.')[0]) for n in own))
                taps = self.module.forward_taps(images, names=roots)
                for name in own:
                    values[name] = self._pick(name, taps)
            else:
                output = self.module(images)
                if 'logits' in own:
                    values['logits'] = output
        finally:
            for handle in handles:
                handle.remove()
        for name, points in hooked.items():
            if name not in values or (name in LISTS and len(values[name]) != len(points)):
                raise UnknownNameError(f'Tap {name!r} was not reached in the forward pass of '
                                       f'{type(self.module).__name__}.')
            if name in LISTS:
                values[name] = [values[name][i] for i in range(len(points))]
        return Taps(values, run=self)

    def shapes(self, names: Iterable[str], example: Tensor, run: Callable | None = None) -> dict[str, Any]:
        """Shapes of taps by a dry run in eval mode without gradient: ``torch.Size``, or a list of them.

        Views are ignored (``logits@strong`` has the shape of ``logits``). The network is left as it was found. ``run`` is
        called in place of this reader, by a task that runs networks in its own way.
        """
        names = tuple(names)
        with self._measuring():
            taps = (run or self)(example, [split_view(name)[0] for name in names])

        def measure(value):
            if isinstance(value, (list, tuple)):
                return [measure(v) for v in value]
            return value.shape
        return {name: measure(taps[split_view(name)[0]]) for name in names}

    @contextmanager
    def _measuring(self):
        modes = {m: m.training for m in self.module.modules()}
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _pick(self, name: str, taps: dict):
        root, _, index = name.partition('.')
        key = LISTS.get(root, root)
        if key not in taps:
            raise UnknownNameError(
                f'{type(self.module).__name__} has no tap {name!r}; it offers {", ".join(sorted(taps))} and module paths.')
        value = taps[key]
        if root in ('stages', 'preact_stages'):
            value = value[self.stem_feats:]
        if not index:
            return value
        try:
            return value[int(index)]
        except (IndexError, ValueError):
            raise UnknownNameError(f'Tap {name!r} does not exist: {root} has {len(value)} entries '
                                   f'(0 to {len(value) - 1}).') from None

    def _hook_point(self, base: str, side: str) -> list[tuple[str, str, int | None]]:
        if base in self._modules and base:
            return [(base, side or 'output', None)]
        if base in self.points:
            return [(*self.points[base], None)]
        root, _, index = base.partition('.')
        if root in ('stages', 'feats') and not self.named_taps:
            maps = sorted((k for k in self.points if k.startswith('feats.')), key=lambda k: int(k.split('.')[1]))
            if maps and not index:
                return [(*self.points[k], None) for k in maps]
            if maps and index.lstrip('-').isdigit() and -len(maps) <= int(index) < len(maps):
                return [(*self.points[maps[int(index)]], None)]
        parent, _, last = base.rpartition('.')
        if parent in self._modules and parent and last.lstrip('-').isdigit():
            return [(parent, side or 'output', int(last))]
        raise UnknownNameError(unknown(f'tap of {type(self.module).__name__}', base, self.names()))

    def _hook(self, path, side, index, values, name, position):
        def store(value):
            value = value if index is None else value[index]
            if position is None:
                values[name] = value
            else:
                values.setdefault(name, {})[position] = value

        module = self._modules[path]
        if side == 'input':
            return module.register_forward_pre_hook(lambda m, args: store(args[0]))
        return module.register_forward_hook(lambda m, args, output: store(output))
