"""Taps of networks that name none: where their tensors are, found by one dry run."""
import functools
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from zoo.registry import UnknownNameError, unknown


@dataclass
class _Call:
    """One finished call of a submodule in the dry run."""

    path: str
    module: nn.Module
    input_shape: torch.Size
    shape: torch.Size
    output: torch.Tensor | None  # kept for linear layers alone


def generic_tap_points(model: nn.Module, example_input: torch.Tensor) -> dict[str, tuple[str, str]]:
    """Where the usual taps of an image classifier lie.

    The model runs once, in eval mode without gradient; its modes and buffers are left as they were. Only modules that
    are called exactly once count, and only maps in ``(N, C, H, W)`` layout.

    Args:
        model: any network that takes one tensor.
        example_input: ``(N, C, H, W)``, on the model's device; large enough that the deepest map is not 1x1.

    Returns:
        By name ``(module path, 'input' | 'output')``: ``pooled``, the input of the last ``nn.Linear`` whose output is
        the model's; ``final_map``, the last map before it; ``tokens`` in place of ``final_map`` where ``(N, L, D)``
        tokens come after the last map; ``feats.0``, ``feats.1``, ...: the last map at each resolution, in order, not
        counting what lies inside a block that halves the resolution, for that belongs to the next stage.
        A name is left out where the model has no such tensor.
    """
    calls, output = _dry_run(model, example_input)
    logits = _first_tensor(output)
    head = next((i for i in range(len(calls) - 1, -1, -1) if _gives(calls[i], logits)), len(calls))
    points = {}
    if head < len(calls):
        points['pooled'] = (calls[head].path, 'input')
    by_path = {call.path: call for call in calls}
    last_at: dict[tuple[int, int], int] = {}
    for index, call in enumerate(calls[:head]):
        if _is_map(call, example_input) and not _inside_downsampling(call, by_path):
            last_at[tuple(call.shape[2:])] = index
    maps = sorted(last_at.values())
    tokens = [i for i, call in enumerate(calls[:head]) if len(call.shape) == 3 and call.shape[0] == len(example_input)]
    if tokens and (not maps or tokens[-1] > maps[-1]):
        points['tokens'] = (calls[tokens[-1]].path, 'output')
    elif maps:
        points['final_map'] = (calls[maps[-1]].path, 'output')
    points.update({f'feats.{number}': (calls[index].path, 'output') for number, index in enumerate(maps)})
    return points


def _dry_run(model: nn.Module, example: torch.Tensor) -> tuple[list[_Call], object]:
    calls: list[_Call] = []
    counts: Counter[str] = Counter()
    handles = []

    def note(path):
        def hook(module, args, output):
            counts[path] += 1
            if isinstance(output, torch.Tensor):
                entered = args[0].shape if args and isinstance(args[0], torch.Tensor) else torch.Size()
                calls.append(_Call(path, module, entered, output.shape,
                                   output if isinstance(module, nn.Linear) else None))
        return hook

    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        for path, module in model.named_modules():
            if path:
                handles.append(module.register_forward_hook(note(path)))
        model.eval()
        with torch.no_grad():
            output = model(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])
    return [call for call in calls if counts[call.path] == 1], output


def _first_tensor(output: object) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return next((t for t in map(_first_tensor, output) if t is not None), None)
    return None


def _gives(call: _Call, logits: torch.Tensor | None) -> bool:
    return (call.output is not None and logits is not None and call.output.ndim == 2
            and call.output.shape == logits.shape and torch.equal(call.output, logits))


def _is_map(call: _Call, example: torch.Tensor) -> bool:
    if len(call.shape) != 4 or call.shape[0] != len(example):
        return False
    height, width = call.shape[2:]
    image_height, image_width = example.shape[2:]
    # A map has the image's aspect to a pixel; (N, H, W, C) layouts and attention maps mostly do not.
    if abs(height * image_width - width * image_height) > (0 if image_height == image_width
                                                           else max(image_height, image_width)):
        return False
    # Pooled vectors and channel attention are 1x1 as well; a stage that shrank so far holds a larger convolution.
    return height * width > 1 or any(isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1
                                     for m in call.module.modules())


def _inside_downsampling(call: _Call, by_path: dict[str, _Call]) -> bool:
    """Whether the map is larger than the output of a module around it that shrinks by about two."""
    parent = call.path.rpartition('.')[0]
    while parent:
        outer = by_path.get(parent)
        if outer is not None and len(outer.input_shape) == 4 and len(outer.shape) == 4:
            entered, left, height = outer.input_shape[2], outer.shape[2], call.shape[2]
            if left < height <= entered <= 2 * left + 2:
                return True
        parent = parent.rpartition('.')[0]
    return False


class PointTaps:
    """Adds ``forward_taps`` by forward hooks to a network; see :func:`with_taps`."""

    classifier_name: str | None = None
    margin_norms: tuple[str, ...] | None = None
    tap_points: dict[str, tuple[str, str]] | None = None
    stem_feats: int = 0
    # module paths whose last call's input is a stage's pre-activation, shallow first
    preact_paths: tuple[str, ...] = ()
    # module paths of stages whose output is (N, H, W, C), which the dry run does not find
    channels_last_stages: tuple[str, ...] = ()

    def forward_taps(self, x: torch.Tensor, names=None) -> dict:
        """Named tensors of one pass: ``logits`` (N, K), ``pooled`` (N, C), ``final_map`` (N, C, H, W) or ``tokens``
        (N, L, D), ``feats`` (the last map at each resolution) and, where known, ``preact_feats``.

        The first call that asks for more than ``logits`` finds their places by a dry run of ``x[:1]``.

        Raises:
            UnknownNameError: where ``names`` holds something that this network does not offer.
        """
        names = None if names is None else tuple(names)
        if names == ('logits',):
            return {'logits': _logits(self(x))}
        if self.tap_points is None:
            self.tap_points = self._find_points(x)
        offered = ['logits', *(n for n in ('pooled', 'final_map', 'tokens') if n in self.tap_points), 'feats']
        if self.preact_paths:
            offered.append('preact_feats')
        wanted = offered if names is None else names
        for name in wanted:
            if name not in offered:
                raise UnknownNameError(unknown(f'tap of {type(self).__name__}', name, offered))
        found, handles = {}, []
        count = sum(name.startswith('feats.') for name in self.tap_points)
        points = [n for n in ('pooled', 'final_map', 'tokens') if n in wanted]
        feats = 'feats' in wanted or 'preact_feats' in wanted
        points += [f'feats.{i}' for i in range(count)] if feats else []
        try:
            for name in points:
                path, side = self.tap_points[name]
                handles.append(_capture(self.get_submodule(path), side, found, name))
            if 'preact_feats' in wanted:
                for path in self.preact_paths:
                    handles.append(_capture(self.get_submodule(path), 'input', found, path))
            found['logits'] = _logits(self(x))
        finally:
            for handle in handles:
                handle.remove()
        if feats:
            found['feats'] = [found[f'feats.{i}'] for i in range(count)]
            if self.channels_last_stages:
                found['feats'] = [feat.permute(0, 3, 1, 2) for feat in found['feats']]
            self.stem_feats = sum(4 * feat.shape[2] > x.shape[2] for feat in found['feats'])
        if 'preact_feats' in wanted:
            found['preact_feats'] = [found['feats'][0], *(found[path] for path in self.preact_paths)]
        return {name: found[name] for name in wanted}

    def _find_points(self, x: torch.Tensor) -> dict[str, tuple[str, str]]:
        points = generic_tap_points(self, x[:1].detach())
        if self.channels_last_stages:
            points = {name: point for name, point in points.items() if not name.startswith('feats.')}
            points.update({f'feats.{i}': (path, 'output') for i, path in enumerate(self.channels_last_stages)})
        return points


def _logits(output) -> torch.Tensor:
    # Inception and GoogLeNet return their auxiliary outputs too in train mode.
    return output if isinstance(output, torch.Tensor) else output.logits


def _capture(module: nn.Module, side: str, store: dict, name: str):
    if side == 'input':
        return module.register_forward_pre_hook(lambda _, args: store.__setitem__(name, args[0]))
    return module.register_forward_hook(lambda _, args, output: store.__setitem__(name, output))


def with_taps(network: nn.Module, taps: type) -> nn.Module:
    """Give ``network`` the methods of the class ``taps`` too, in place.

    The network stays what it is (class, module paths, state-dict keys), for nothing is wrapped around it; it can be
    copied and pickled.
    """
    network.__class__ = _tapped_class(taps, type(network))
    return network


@functools.cache
def _tapped_class(taps: type, base: type) -> type:
    def __reduce__(self):
        return _revive, (taps, base), self.__dict__

    return type(base.__name__, (taps, base), {'__reduce__': __reduce__, '__module__': base.__module__,
                                              '__doc__': base.__doc__})


def _revive(taps: type, base: type) -> nn.Module:
    cls = _tapped_class(taps, base)
    return cls.__new__(cls)
