"""Loading weights into a network: from a file, an address or the zoo's hub, safely and with errors that say what to do.

Files are read with ``weights_only=True``: a pickle can run code when it is opened, tensors cannot.
"""
import hashlib
import importlib
import importlib.util
import pickle
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from zoo.registry import UnknownNameError, near_names, unknown

OUTER_KEYS = ('state_dict', 'model', 'model_state', 'model_state_dict', 'net', 'network', 'state_dict_ema', 'model_ema',
              'ema', 'student', 'weights', 'params', 'module')
SHARED_PREFIXES = ('module.', '_orig_mod.', 'student.')

# Key renaming by name, for repositories whose networks are ours under other keys: (regex, replacement) in order; None in
# place of a replacement leaves out the keys that the regex finds.
CONVERTERS: dict[str, tuple[tuple[str, str | None], ...]] = {
    # akamaster/pytorch_resnet_cifar10@d5489e8: our CifarResNet(shortcut='A')
    'pytorch_resnet_cifar10': ((r'^linear\.', 'fc.'),),
    # facebookresearch/mae@efb2a80 and UCSC-VLAA/DMAE@a0f4959, whose keys are those of zoo.models.MaskedAutoencoder (which
    # needs no converter): the encoder alone, for a timm ViT or a MaskedAutoencoder without decoder
    'mae_encoder': ((r'^(decoder_|mask_token$)', None),),
    # the same for a classifier on the mean of the patches, whose own fc_norm takes the place of norm: load with
    # fresh=('head', 'fc_norm')
    'mae_mean_pool': ((r'^(decoder_|mask_token$|norm\.)', None),),
}
CONVERTERS['akamaster'] = CONVERTERS['pytorch_resnet_cifar10']


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit the network; the message says why and what to do."""


@dataclass
class LoadReport:
    """What :func:`load_checkpoint` did.

    Attributes:
        source: where the weights came from.
        loaded: number of entries that were copied.
        missing: keys of the network that the file lacks (``num_batches_tracked`` alone, where ``strict``).
        unexpected: keys of the file that the network lacks.
        mismatched: keys of both whose shapes differ, with ``(shape in the file, shape in the network)``.
    """

    source: str
    loaded: int = 0
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


def load_checkpoint(model: nn.Module, source: 'str | Path | Mapping', *, key: str | None = None,
                    prefix: str | None = None, rename: 'str | Iterable[tuple[str, str | None]] | None' = None,
                    strict: bool = True, fresh: Iterable[str] = (), trust_pickle: bool = False) -> LoadReport:
    """Copy weights into ``model``.

    Args:
        model: the network.
        source: a path (``.safetensors``, or what ``torch.save`` wrote), an ``http(s)://`` address (downloaded once, its
            hash checked where the file name ends in ``-<hex of sha256>.<suffix>``), ``zoo://<name>``, or a mapping.
        key: where the state dict lies in the file (``'a.b'`` for nested); None looks under the usual keys.
        prefix: only keys that begin so are taken, without it; None strips ``module.``, ``_orig_mod.`` and
            ``student.`` where all keys share them; ``''`` strips nothing.
        rename: (regex, replacement) pairs applied to each key in turn with ``re.sub`` (None as replacement leaves the keys
            out that the regex finds), or a name in ``CONVERTERS``.
        strict: every key must fit; only ``num_batches_tracked``, which old files lack, may be missing. Otherwise what
            fits is loaded and the rest reported.
        fresh: module paths of the network, such as ``('head',)``, that keep their initial weights whatever the file holds,
            for fine-tuning; the rest is loaded as ``strict`` says.
        trust_pickle: open the file with Python's full pickle, which can run code; only for files of trusted authors.

    Returns:
        The :class:`LoadReport`.

    Raises:
        FileNotFoundError: where the file is not there.
        CheckpointError: where it cannot be read, holds no state dict, or does not fit.
        UnknownNameError: where ``rename`` names no converter or ``key`` is not in the file.
    """
    state = read_state_dict(source, key=key, trust_pickle=trust_pickle)
    name = '<mapping>' if isinstance(source, Mapping) else str(source)
    state = _rename(_strip(state, prefix, name), rename, name)
    wanted = model.state_dict()
    fresh = tuple(fresh)
    for part in fresh:
        if not any(k.startswith(f'{part}.') for k in wanted):
            raise UnknownNameError(unknown('part to keep fresh', part, {k.rpartition('.')[0] for k in wanted}))
    kept = tuple(f'{part}.' for part in fresh)
    wanted = {k: v for k, v in wanted.items() if not k.startswith(kept)} if kept else wanted
    state = {k: v for k, v in state.items() if not k.startswith(kept)} if kept else state
    report = LoadReport(name)
    report.missing = [k for k in wanted if k not in state]
    report.unexpected = [k for k in state if k not in wanted]
    report.mismatched = {k: (tuple(state[k].shape), tuple(wanted[k].shape)) for k in wanted
                         if k in state and isinstance(wanted[k], torch.Tensor) and state[k].shape != wanted[k].shape}
    fitting = {k: v for k, v in state.items() if k in wanted and k not in report.mismatched}
    lacking = [k for k in report.missing if not k.endswith('num_batches_tracked')]
    if (strict and (lacking or report.unexpected or report.mismatched)) or not fitting:
        raise CheckpointError(_mismatch_message(model, report, lacking, state))
    model.load_state_dict(fitting, strict=False)
    report.loaded = len(fitting)
    return report


def read_state_dict(source: 'str | Path | Mapping', *, key: str | None = None,
                    trust_pickle: bool = False) -> dict[str, torch.Tensor]:
    """The state dict in ``source``, on the CPU, its keys as they are; arguments and errors as in load_checkpoint."""
    if isinstance(source, Mapping):
        return _find_state(source, key, '<mapping>')
    path = _locate(str(source))
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        try:
            content = load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f'{path} is not a readable safetensors file ({error}).'
                                  f'{_pointer_hint(path)}') from error
    else:
        content = _torch_load(path, trust_pickle)
    return _find_state(content, key, str(path))


def _torch_load(path: Path, trust_pickle: bool):
    if trust_pickle:
        try:
            return torch.load(path, map_location='cpu', weights_only=False)
        except Exception as error:  # damaged bytes can make the unpickler raise anything
            raise CheckpointError(f'{path} cannot be read: {_first_line(error)}.{_pointer_hint(path)}') from error
    try:
        # Training arguments, numpy's numbers and arrays and mmengine's histories stand in many files and can run nothing.
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found:
            raise CheckpointError(
                f'{path} holds pickled Python objects besides tensors ({found[1]}), which can run code when opened; '
                'pass trust_pickle=True if you trust its author.') from error
        raise CheckpointError(f'{path} is not a checkpoint that torch can read: {_first_line(error)}.'
                              f'{_pointer_hint(path)}') from error
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        raise CheckpointError(f'{path} is damaged or not a checkpoint: {_first_line(error)}.'
                              f'{_pointer_hint(path)}') from error


def _history_method(owner: object, name: str):
    """Stands for ``getattr`` in files of mmengine, whose histories name their own four methods by it."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'GLOBAL builtins.getattr, for {name!r} of {owner!r}')


def _harmless_globals() -> list:
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in ('f2', 'f4', 'f8', 'i4', 'i8', 'u1', 'bool')}
    array = np.zeros(1).__reduce__()[0]
    # numpy 1 wrote these constructors under another module than numpy 2; mmengine's checkpoints hold histories of losses
    moved = [(function, f'numpy.{core}.multiarray.{name}') for core in ('core', '_core')
             for function, name in ((scalar, 'scalar'), (array, '_reconstruct'))]
    methods = [(_history_method, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    return [scalar, array, *moved, *methods, np.dtype, np.ndarray, Namespace, HistoryBuffer, *kinds]


_HARMLESS = _harmless_globals()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('.') if lines else type(error).__name__


def _pointer_hint(path: Path) -> str:
    with open(path, 'rb') as file:
        head = file.read(200).lstrip()
    if head.startswith(b'version https://git-lfs'):
        return ' It is a Git LFS pointer: run `git lfs pull` where it came from.'
    if head[:1] == b'<':
        return ' It begins like a web page: the download was probably refused or redirected.'
    return ''


def _locate(source: str) -> Path:
    if source.startswith('zoo://'):
        if importlib.util.find_spec('zoo.hub') is None:
            raise CheckpointError(f'{source} needs zoo.hub, which this installation lacks; give a path or an address.')
        return Path(importlib.import_module('zoo.hub').checkpoint_path(source.removeprefix('zoo://')))
    if source.startswith(('http://', 'https://')):
        return download(source)
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(p.name for p in path.iterdir() if p.suffix in ('.safetensors', '.pth', '.pt', '.th', '.bin'))
        raise FileNotFoundError(f'{path} is a folder, not a checkpoint file. '
                                f'It holds {", ".join(files[:10]) or "no checkpoint"}.')
    if not path.is_file():
        near = near_names(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else []
        hint = f'Beside it lie {", ".join(near)}.' if near else 'Check the path, or the folder the command runs in.'
        raise FileNotFoundError(f'There is no checkpoint {path}. {hint}')
    return path


def download(url: str) -> Path:
    """The cached file of ``url`` under ``torch.hub``'s folder; downloaded and hash-checked where it is not there yet.

    Raises:
        CheckpointError: where the address cannot be reached or the hash in the file's name does not agree.
    """
    name = Path(unquote(urlparse(url).path)).name
    if not name:
        raise CheckpointError(f'{url} names no file.')
    # Many hubs call every file pytorch_model.bin: one folder for each address.
    folder = Path(torch.hub.get_dir()) / 'checkpoints' / hashlib.sha256(url.encode()).hexdigest()[:12]
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        found = re.search(r'-([a-f0-9]{8,})\.', name)
        try:
            torch.hub.download_url_to_file(url, str(path), found[1] if found else None, progress=False)
        except OSError as error:
            raise CheckpointError(f'{url} could not be downloaded ({error}); download it by hand and give its path.'
                                  ) from error
        except RuntimeError as error:
            raise CheckpointError(f'{url}: what came is not what the name promises ({_first_line(error)}).') from error
    return path


def _is_state(content: object) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items())


def _tensors(content: Mapping) -> dict[str, torch.Tensor]:
    """The tensors of a mapping that also holds other things, such as ``_extra_state`` or numbers."""
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def _find_state(content: object, key: str | None, name: str) -> dict[str, torch.Tensor]:
    if key is not None:
        for part in [key] if isinstance(content, Mapping) and key in content else key.split('.'):
            if not isinstance(content, Mapping) or part not in content:
                known = [k for k in content if isinstance(k, str)] if isinstance(content, Mapping) else []
                raise UnknownNameError(f'{unknown(f"key of {name}", key, known)}' if known
                                       else f'{name} has no key {key!r}; it holds a {type(content).__name__}.')
            content = content[part]
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if _is_state(content):
        return dict(content)
    if isinstance(content, Mapping):
        for outer in OUTER_KEYS:
            inner = content.get(outer)
            if isinstance(inner, nn.Module) or (isinstance(inner, Mapping) and inner):
                return _find_state(inner, None, name)
        tensors = _tensors(content)
        if tensors:
            return tensors
    holds = ', '.join(map(str, list(content)[:10])) if isinstance(content, Mapping) else f'a {type(content).__name__}'
    raise CheckpointError(f'{name} holds no state dict where one was looked for; it has {holds}. '
                          'Say under which key it lies (key=...).')


def _strip(state: dict, prefix: str | None, name: str) -> dict:
    if prefix == '' or not state:
        return state
    if prefix is None:
        found = True
        while found:
            found = next((p for p in SHARED_PREFIXES if all(k.startswith(p) for k in state)), None)
            if found:
                state = {k.removeprefix(found): v for k, v in state.items()}
        return state
    prefix = prefix if prefix.endswith('.') else prefix + '.'
    kept = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not kept:
        raise CheckpointError(f'No key of {name} begins with {prefix!r}; the keys begin with {_first_parts(state)}.')
    return kept


def _rename(state: dict, rename: 'str | Iterable[tuple[str, str | None]] | None', name: str) -> dict:
    if rename is None:
        return state
    if isinstance(rename, str):
        if rename not in CONVERTERS:
            raise UnknownNameError(unknown('checkpoint converter', rename, CONVERTERS))
        rename = CONVERTERS[rename]
    pairs = [(re.compile(pattern), replacement) for pattern, replacement in rename]
    renamed = {}
    for old, value in state.items():
        new = _converted(old, pairs)
        if new is None:
            continue
        if new in renamed:
            raise CheckpointError(f'rename gives two keys of {name} the name {new!r} (one was {old!r}).')
        renamed[new] = value
    return renamed


def _converted(key: str, pairs: Iterable[tuple]) -> str | None:
    """The key under its new name, or None where it is left out."""
    for pattern, replacement in pairs:
        if replacement is not None:
            key = re.sub(pattern, replacement, key)
        elif re.search(pattern, key):
            return None
    return key


def _first_parts(state: Iterable[str], limit: int = 6) -> str:
    counts: dict[str, int] = {}
    for k in state:
        part = k.split('.')[0] + ('.' if '.' in k else '')
        counts[part] = counts.get(part, 0) + 1
    shown = ', '.join(f'{part} ({count})' for part, count in list(counts.items())[:limit])
    return shown + (', ...' if len(counts) > limit else '')


def _some(keys: Iterable[str], limit: int = 4) -> str:
    keys = list(keys)
    return ', '.join(keys[:limit]) + (', ...' if len(keys) > limit else '')


def _mismatch_message(model: nn.Module, report: LoadReport, lacking: list[str], state: dict) -> str:
    parts = []
    if lacking:
        parts.append(f'{len(lacking)} missing ({_some(lacking)})')
    if report.unexpected:
        parts.append(f'{len(report.unexpected)} unexpected ({_some(report.unexpected)})')
    if report.mismatched:
        shapes = (f'{k}: {list(a)} in the file, {list(b)} in the network' for k, (a, b) in report.mismatched.items())
        parts.append(f'{len(report.mismatched)} of other shape ({_some(shapes)})')
    hint = _hint(model, report, lacking, state)
    return f'{report.source} does not fit {type(model).__name__}: {"; ".join(parts) or "nothing in common"}.{hint}'


def _hint(model: nn.Module, report: LoadReport, lacking: list[str], state: dict) -> str:
    head = getattr(model, 'classifier_name', None)
    if head and report.mismatched and all(k.startswith(f'{head}.') for k in report.mismatched) and not lacking:
        theirs, ours = next(iter(report.mismatched.values()))
        if theirs[0] != ours[0]:
            return (f' Only the classifier differs: the file has {theirs[0]} classes, the network {ours[0]}; '
                    f'build it with num_classes={theirs[0]}, or load with strict=False to leave the classifier out.')
    for part in dict.fromkeys(k.split('.')[0] for k in state):
        inner = {k.removeprefix(f'{part}.') for k in state if k.startswith(f'{part}.')}
        if len(inner.intersection(lacking)) > len(lacking) / 2:
            return f' Most missing keys are there under {part!r}: load with prefix={part!r}.'
    if lacking and report.unexpected:
        for name, pairs in CONVERTERS.items():
            if set(lacking) <= {_converted(k, pairs) for k in report.unexpected}:
                return f' The keys look like those of {name}: load with rename={name!r}.'
        return (f' The file\'s keys begin with {_first_parts(state)}; the network\'s with '
                f'{_first_parts(model.state_dict())}. Is it the right network? Else prefix=... or rename=... may help.')
    if report.mismatched:
        return ' Is it the right network, width and num_classes?'
    return ' strict=False loads what fits.'
