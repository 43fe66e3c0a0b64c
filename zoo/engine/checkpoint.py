"""Training checkpoints that load with ``weights_only=True`` and resume exactly.

mmengine stores objects (``HistoryBuffer``) that torch's safe loader refuses; here everything is tensors and plain Python.
"""
import os
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor


def random_state() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators (CPU and every CUDA device), as tensors and numbers."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=dict(version=version, words=torch.tensor(words, dtype=torch.int64), gauss=gauss),
        numpy=dict(name=name, keys=torch.from_numpy(keys.astype(np.int64)), position=int(position),
                   has_gauss=int(has_gauss), cached=float(cached)),
        torch=torch.get_rng_state())
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo :func:`random_state`."""
    python, array = state['python'], state['numpy']
    random.setstate((python['version'], tuple(python['words'].tolist()), python['gauss']))
    np.random.set_state((array['name'], array['keys'].numpy().astype(np.uint32), array['position'], array['has_gauss'],
                         array['cached']))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state['cuda']])


def plain(value: Any) -> Any:
    """``value`` with numpy scalars and arrays turned into Python numbers and tensors.

    Raises:
        TypeError: for anything that ``weights_only=True`` would refuse.
    """
    if value is None or isinstance(value, (bool, int, float, str, Tensor)):
        return value.detach().cpu() if isinstance(value, Tensor) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((plain(k), plain(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value) if type(value) in (list, tuple) else [plain(v) for v in value]
    raise TypeError(f'{type(value).__name__} cannot be stored in a checkpoint that loads safely')


def _storable(value: Any) -> bool:
    try:
        plain(value)
    except TypeError:
        return False
    return True


def pack_message_hub(hub: MessageHub) -> dict[str, Any]:
    """The hub's scalars and runtime facts as plain data; objects that are not plain are left out."""
    state = hub.state_dict()
    scalars = {key: dict(log=torch.from_numpy(buffer._log_history.copy()),
                         count=torch.from_numpy(buffer._count_history.copy()), max_length=buffer.max_length)
               for key, buffer in state['log_scalars'].items()}
    info = {k: plain(v) for k, v in state['runtime_info'].items() if _storable(v)}
    return dict(log_scalars=scalars, runtime_info=info, resumed_keys=plain(dict(state['resumed_keys'])))


def unpack_message_hub(state: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`pack_message_hub`, for ``MessageHub.load_state_dict``."""
    scalars = OrderedDict()
    for key, value in state['log_scalars'].items():
        scalars[key] = HistoryBuffer(value['log'].tolist(), value['count'].tolist(), value['max_length'])
    return dict(log_scalars=scalars, runtime_info=OrderedDict(state['runtime_info']),
                resumed_keys=OrderedDict(state['resumed_keys']))


def save_training_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike) -> None:
    """Write atomically: the old file stays whole until the new one is complete.

    Raises:
        TypeError: if something in it would not load with ``weights_only=True``.
        OSError: if the disk is full; nothing half-written stays behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        torch.save(plain(checkpoint), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_training_checkpoint(path: str | os.PathLike, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a checkpoint of :func:`save_training_checkpoint`, without running any code stored in it.

    Raises:
        FileNotFoundError: with the checkpoints that lie beside the missing one.
        ValueError: if it is not a training checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.pth')) if path.parent.is_dir() else []
        raise FileNotFoundError(f'No checkpoint at {path}. '
                                + (f'There are: {", ".join(beside)}.' if beside else 'The folder holds none.'))
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise ValueError(f'{path} cannot be read as a checkpoint ({type(error).__name__}: '
                         f'{str(error).splitlines()[0]}); take an earlier one.') from error
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint or 'meta' not in checkpoint:
        raise ValueError(f'{path} is no training checkpoint of the zoo: it lacks `state_dict` and `meta`. Plain weights '
                         'belong into model.student.checkpoint.')
    return checkpoint
