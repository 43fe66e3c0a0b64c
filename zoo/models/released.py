"""Released students: a safetensors file with the config that rebuilds the network, loadable without training code."""
import json
import os
from pathlib import Path

import torch
from torch import nn

from .build import build_network

BUILD, PREPROCESS, CLASSES, FACTS = 'zoo.build', 'zoo.preprocess', 'zoo.class_names', 'zoo.facts'


def save_released(net: nn.Module, path: str | os.PathLike, *, preprocess: dict | None = None,
                  class_names: list[str] | None = None, facts: dict | None = None, half: bool = False) -> Path:
    """Write a network's weights with what is needed to use them, atomically.

    Args:
        net: made by :func:`zoo.models.build_network` (it carries ``build_config``), or any module; without
            ``build_config`` the file holds weights only.
        preprocess: ``input_shape`` (C, H, W), ``mean``, ``std`` for pixels in 0..1.
        class_names: in the order of the outputs.
        facts: how it came about (config, data, epochs, seed, scores).
        half: floating-point weights as float16.
    """
    from safetensors.torch import save_file
    metadata = {PREPROCESS: json.dumps(preprocess or {}), FACTS: json.dumps(facts or {})}
    build = getattr(net, 'build_config', None)
    if build is not None:
        metadata[BUILD] = json.dumps(build)
    if class_names is not None:
        metadata[CLASSES] = json.dumps([str(c) for c in class_names])
    state = {k: v.detach().cpu().to(torch.float16) if half and v.is_floating_point() else v.detach().cpu()
             for k, v in net.state_dict().items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        save_file({k: v.clone().contiguous() for k, v in state.items()}, partial, metadata=metadata)
        partial.chmod(0o644)  # safetensors writes for the owner alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_metadata(path: str | os.PathLike) -> dict:
    """``build``, ``preprocess``, ``class_names`` and ``facts`` of a released file (those that it has).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'No file {path}.')
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a safetensors file ({error}).') from None
    names = {BUILD: 'build', PREPROCESS: 'preprocess', CLASSES: 'class_names', FACTS: 'facts'}
    return {names[k]: json.loads(v) for k, v in metadata.items() if k in names}


def load_released(path: str | os.PathLike) -> nn.Module:
    """The network of a file of :func:`save_released`, in eval mode, float32, with ``preprocess`` and ``class_names``.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, damaged, or does not say how to build its network.
    """
    from safetensors.torch import load_file
    metadata = read_metadata(path)
    if 'build' not in metadata:
        raise ValueError(f'{path} holds weights but not how to build the network: use it as a `checkpoint` of a config.')
    net = build_network(dict(metadata['build']))
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    net.load_state_dict(state)
    net.preprocess, net.class_names = metadata.get('preprocess', {}), metadata.get('class_names')
    return net.eval()
