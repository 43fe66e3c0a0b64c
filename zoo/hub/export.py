"""Released networks as ONNX, TorchScript or torch.export files, each compared with the network that it came from."""
import importlib.util
import inspect
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .download import DownloadError, is_pickle

__all__ = ['ENDINGS', 'ExportError', 'Exported', 'example_inputs', 'export', 'open_network']

ENDINGS = {'onnx': '.onnx', 'torchscript': '.torchscript.pt', 'torch.export': '.pt2'}
#: largest difference from the network's own output, relative to the largest output (or 1)
TOLERANCE = 1e-4
#: what further inputs of a network are called, and how many dimensions they have
TIMES, LABELS, SCALES = ('time', 't', 'timestep', 'timesteps'), ('labels', 'label', 'y', 'class_labels'), ('guidance',)


class ExportError(ValueError):
    """A network that cannot be exported as asked, or whose export computes something else; the message says what to do."""


@dataclass
class Exported:
    """The written file, the largest relative difference that was found, and the batch sizes that were tried."""
    path: Path
    difference: float
    batches: tuple[int, ...]


class Plain(nn.Module):
    """A network whose outputs are one tensor or a flat tuple of tensors, perhaps with its normalisation inside."""

    def __init__(self, net: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        super().__init__()
        self.net = net
        self.normalise = mean is not None
        if mean is not None:
            self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
            self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The network's tensors in the order of its output."""
        images = (images - self.mean) / self.std if self.normalise else images
        leaves = tuple(leaf for leaf in pytree.tree_leaves(self.net(images, *others)) if isinstance(leaf, Tensor))
        return leaves[0] if len(leaves) == 1 else leaves


def open_network(source: str, *, offline: bool | None = None, trust_pickle: bool = False) -> tuple[nn.Module, str]:
    """A released network by name or file, in eval mode, and its name.

    Args:
        source: a name of :func:`zoo.hub.names` (also as ``zoo://name``), or a ``.safetensors`` file of a release or a run.
        trust_pickle: allow a file that holds a whole pickled network, which can run code when it is opened.

    Raises:
        FileNotFoundError, UnknownNameError, ValueError: if there is none, or it is no network.
    """
    from zoo import hub
    from zoo.models.released import load_released
    path = Path(source).expanduser()
    looks_like_a_file = path.suffix in ('.safetensors', '.pth', '.pt', '.th', '.bin', '.ckpt', '.pkl') or os.sep in source
    if source.startswith('zoo://') or not (path.is_file() or looks_like_a_file):
        name = source.removeprefix('zoo://')
        return hub.load(name, offline=offline, trust_pickle=trust_pickle), name
    if not path.is_file():
        raise FileNotFoundError(f'No file {path}.')
    if path.suffix != '.safetensors' or is_pickle(path):
        if not trust_pickle:
            raise DownloadError(f'{path} is a pickle, which can run code when it is opened: export the run\'s '
                                'student.safetensors, or pass --trust-pickle if you trust its author.')
        try:
            net = torch.load(path, map_location='cpu', weights_only=False)
        except Exception as error:  # damaged bytes can make the unpickler raise anything
            raise ExportError(f'{path} cannot be read: {_first_line(error)}.') from None
        if not isinstance(net, nn.Module):
            raise ExportError(f'{path} holds a {type(net).__name__}, not a network: weights alone do not say how to build it; '
                              'export the run\'s student.safetensors.')
        return net.eval(), path.stem
    name = path.stem if path.stem != 'student' else path.resolve().parent.name
    return load_released(path), name


def example_inputs(net: nn.Module, shape: Sequence[int], batch: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of a network by name: ``images`` ``(N, C, H, W)``, and times, labels or guidance where it takes them.

    Raises:
        ExportError: if it needs something else.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {'images': torch.randn(batch, *shape, generator=generator)}
    parameters = list(inspect.signature(net.forward).parameters.values())
    times = False
    for parameter in parameters[1:]:
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if parameter.name in TIMES and required:
            found[parameter.name] = torch.rand(batch, generator=generator)
            times = True
        elif parameter.name in LABELS and (required or times) and getattr(net, 'num_classes', None):
            found[parameter.name] = torch.randint(net.num_classes, (batch,), generator=generator)
        elif parameter.name in SCALES and times and getattr(net, parameter.name, None) is not None:
            found[parameter.name] = 1 + torch.rand(batch, generator=generator)
        elif required:
            raise ExportError(f'{type(net).__name__} needs the input {parameter.name!r} beside images, which an export cannot '
                              'make up: wrap it in a module that takes images alone.')
        else:
            break  # further inputs are positions behind this one
    return found


def export(net: nn.Module, out: str | os.PathLike, *, format: str = 'onnx', input_shape: Sequence[int] | None = None,
           batch: int | None = None, preprocess: bool = False, opset: int | None = None,
           metadata: dict | None = None) -> Exported:
    """Write a network in another format and check it against the network on random inputs.

    Args:
        net: in eval mode, float32; released networks bring ``preprocess``.
        out: the file to write; nothing is left there if the check fails.
        format: ``'onnx'``, ``'torchscript'`` or ``'torch.export'``.
        input_shape: ``(C, H, W)``; by default the network's own.
        batch: a fixed number of images; None for any number.
        preprocess: put the normalisation into the file, which then takes pixels in 0..1.
        opset: of ONNX; by default the exporter's.
        metadata: written into the file as JSON under ``zoo``, beside the preprocessing and class names.

    Returns:
        The path and the largest relative difference.

    Raises:
        ExportError: if a package is missing, the network cannot be exported so, or the file computes something else.
    """
    if format not in ENDINGS:
        raise ExportError(f'Unknown format {format!r}: there are {", ".join(ENDINGS)}.')
    if format == 'onnx':
        lacking = [name for name in ('onnx', 'onnxscript', 'onnxruntime') if importlib.util.find_spec(name) is None]
        if lacking:
            raise ExportError(f'ONNX needs {", ".join(lacking)}: pip install \'distillation-zoo[export]\'.')
    facts = dict(getattr(net, 'preprocess', None) or {})
    shape = list(input_shape or facts.get('input_shape') or ())
    if len(shape) != 3:
        raise ExportError('The network does not say its input shape: give one, --shape C H W.')
    if preprocess and 'mean' not in facts:
        raise ExportError('The network does not say its normalisation (mean and std): export without --preprocess.')
    if preprocess and max(facts['mean']) > 1:  # mmdet's and mmseg's count pixels in 0..255
        facts['mean'], facts['std'] = ([v / 255 for v in facts[key]] for key in ('mean', 'std'))
    net.eval()
    model = Plain(net, facts['mean'], facts['std']) if preprocess else Plain(net)
    model.eval().requires_grad_(False)
    named = example_inputs(net, shape, 2 if batch is None else batch)
    info = {**(metadata or {}), 'input_shape': shape, 'inputs': list(named), 'batch': batch or 'any',
            'expects': 'pixels in 0..1' if preprocess else 'normalised pixels',
            **{key: facts[key] for key in ('mean', 'std') if key in facts}}
    if getattr(net, 'class_names', None):
        info['class_names'] = list(net.class_names)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as folder, torch.no_grad():
        partial = Path(folder) / f'model{ENDINGS[format]}'
        inputs = tuple(named.values())
        try:
            reference = model(*inputs)
        except Exception as error:
            raise ExportError(f'{type(net).__name__} does not run on images {tuple(shape)}: {_first_line(error)}.') from error
        if _difference(model(*inputs), reference) > TOLERANCE:
            raise ExportError(f'{type(net).__name__} gives another output each time (it draws random numbers): no export can '
                              'be checked; export the part that does not, such as the encoder of a masked autoencoder '
                              '(encoder.safetensors of its run).')
        if isinstance(reference, tuple) and not reference:
            raise ExportError(f'{type(net).__name__} returns no tensors: there is nothing to export.')
        try:
            with _quiet():
                run = _WRITERS[format](model, named, batch, partial, json.dumps(info), opset)
        except ExportError:
            raise
        except Exception as error:  # exporters raise whatever their passes raise
            other = ', '.join(f'--format {name}' for name in ENDINGS if name != format)
            fixed = ', or --batch 1' if batch is None else ''
            raise ExportError(f'{type(net).__name__} cannot be exported as {format} ({_first_line(error)}): try {other}{fixed}.'
                              ) from error
        batches = (2, 1, 3) if batch is None else (batch,)
        worst = 0.0
        for count in batches:
            inputs = tuple(example_inputs(net, shape, count, seed=count).values())
            try:
                difference = _difference(run(inputs), model(*inputs))
            except Exception as error:
                raise ExportError(f'The {format} file of {type(net).__name__} does not run on a batch of {count} '
                                  f'({_first_line(error)}): try --batch {count}.') from error
            if not difference <= TOLERANCE:
                raise ExportError(f'The {format} file of {type(net).__name__} differs from the network by {difference:.2g} of '
                                  f'the largest output on a batch of {count} (allowed: {TOLERANCE:g}): not written.')
            worst = max(worst, difference)
        os.replace(partial, out)
    return Exported(out, worst, batches)


Runner = Callable[[tuple[Tensor, ...]], object]


def _dynamic(named: dict[str, Tensor], batch: int | None) -> tuple | None:
    """Shapes for torch.export: the first axis of each input is the batch."""
    if batch is not None:
        return None
    size = torch.export.Dim('batch', min=1, max=65536)
    first, *others = ({0: size} for _ in named)
    return (first, tuple(others)) if others else (first,)


def _write_onnx(model: nn.Module, named: dict[str, Tensor], batch: int | None, path: Path, info: str,
                opset: int | None) -> Runner:
    program = torch.onnx.export(model, tuple(named.values()), dynamo=True, dynamic_shapes=_dynamic(named, batch),
                                input_names=list(named), opset_version=opset, verbose=False)
    program.model.metadata_props['zoo'] = info
    program.save(str(path), external_data=False)
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> list[Tensor]:
        found = session.run(None, {name: value.numpy() for name, value in zip(names, inputs)})
        return [torch.from_numpy(value) for value in found]
    return run


def _write_torchscript(model: nn.Module, named: dict[str, Tensor], batch: int | None, path: Path, info: str,
                       opset: int | None) -> Runner:
    traced = torch.jit.trace(model, tuple(named.values()), check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={'zoo': info})
    loaded = torch.jit.load(str(path), map_location='cpu')
    return lambda inputs: loaded(*inputs)


def _write_torch_export(model: nn.Module, named: dict[str, Tensor], batch: int | None, path: Path, info: str,
                        opset: int | None) -> Runner:
    program = torch.export.export(model, tuple(named.values()), dynamic_shapes=_dynamic(named, batch), strict=False)
    torch.export.save(program, str(path), extra_files={'zoo': info})
    loaded = torch.export.load(str(path)).module()
    return lambda inputs: loaded(*inputs)


_WRITERS = {'onnx': _write_onnx, 'torchscript': _write_torchscript, 'torch.export': _write_torch_export}


def _difference(found: object, wanted: object) -> float:
    """The largest difference of any output, relative to the largest value of that output (at least 1)."""
    found, wanted = ([leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)] for value in (found, wanted))
    if [tuple(a.shape) for a in found] != [tuple(b.shape) for b in wanted]:
        return float('inf')
    worst = 0.0
    for a, b in zip(found, wanted):
        gap = (a.double() - b.double()).abs().max().item() if b.numel() else 0.0
        worst = max(worst, gap / max(1.0, b.double().abs().max().item() if b.numel() else 1.0))
        if gap != gap:
            return float('nan')
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk much; what they raise says enough."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:200].rstrip('.') if lines else '') or type(error).__name__
