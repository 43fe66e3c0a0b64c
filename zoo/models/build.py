"""Networks from configs."""
import inspect
import json
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo.models.checkpoint import load_checkpoint
from zoo.registry import MODELS


def build_network(cfg: 'Mapping | str | nn.Module', num_classes: int | None = None) -> nn.Module:
    """Build a network, load its checkpoint, and remember how it was built.

    Args:
        cfg: ``dict(type=..., **arguments, checkpoint=...)`` (also mmengine's ConfigDict), a registered name, or a
            module, which is returned as it is. ``checkpoint`` is None, a source as in
            :func:`zoo.models.checkpoint.load_checkpoint`, or a dict of its ``path`` and its keyword arguments.
        num_classes: K, where ``cfg`` says none and the constructor takes it.

    Returns:
        The network. Its ``build_config`` is the plain dict that builds it again, without the checkpoint, fit for JSON;
        None (with a warning) where an argument has no place in JSON.

    Raises:
        TypeError: where ``cfg`` is none of these.
        KeyError: where ``type`` is missing; UnknownNameError where nothing is registered under it.
        ValueError: where ``checkpoint`` is a dict without ``path`` or with unknown entries.
    """
    if isinstance(cfg, nn.Module):
        return cfg
    if isinstance(cfg, str):
        cfg = {'type': cfg}
    if not isinstance(cfg, Mapping):
        raise TypeError(f'A network is a config (dict with type), a name or an nn.Module, not a {type(cfg).__name__}.')
    cfg = _plain(cfg)
    if 'type' not in cfg:
        raise KeyError(f'The config of a network needs type; it has {", ".join(map(str, cfg)) or "nothing"}.')
    source, options = _checkpoint_arguments(cfg.pop('checkpoint', None))
    if num_classes is not None and cfg.get('num_classes') is None and _accepts(cfg, 'num_classes'):
        cfg['num_classes'] = num_classes
    network = MODELS.build({'_scope_': 'zoo', **cfg})
    if source is not None:
        load_checkpoint(network, source, **options)
    # a builder that resolves its config (of another package's file) has noted what it came to
    if (getattr(network, 'build_config', None) or {}).get('type') != cfg['type']:
        network.build_config = _json_config(cfg)
    return network


def _plain(value: Any) -> Any:
    """Dicts, lists and what they hold, without mmengine's config classes."""
    if hasattr(value, 'to_dict') and isinstance(value, Mapping):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if type(value) is tuple:
        return tuple(_plain(v) for v in value)
    return value


def _checkpoint_arguments(checkpoint: Any) -> tuple[Any, dict]:
    if not isinstance(checkpoint, Mapping):
        return checkpoint, {}
    options = dict(checkpoint)
    if 'path' not in options:
        raise ValueError(f'checkpoint needs path (a file, an address or zoo://...); it has {", ".join(options)}.')
    known = ('path', 'key', 'prefix', 'rename', 'strict', 'fresh', 'trust_pickle')
    strange = [k for k in options if k not in known]
    if strange:
        raise ValueError(f'checkpoint does not know {", ".join(strange)}; it takes {", ".join(known)}.')
    return options.pop('path'), options


def _accepts(cfg: dict, parameter: str) -> bool:
    """Whether what ``cfg`` builds has a parameter of this name; for a user's Python file, what the file defines."""
    constructor = cfg['type']
    if isinstance(constructor, str):
        with MODELS.switch_scope_and_registry(cfg.get('_scope_', 'zoo')) as registry:
            constructor = registry.get(constructor)
    if getattr(constructor, '__name__', '') == 'PythonFileModel' and 'path' in cfg and 'name' in cfg:
        from zoo.models.python_file import load_definition
        constructor = load_definition(cfg['path'], cfg['name'])
    try:
        return parameter in inspect.signature(constructor).parameters
    except (TypeError, ValueError):  # a callable without a readable signature
        return False


def _json_config(cfg: dict) -> dict | None:
    kind = cfg['type']
    if not isinstance(kind, str):
        name = getattr(kind, '__name__', '')
        if MODELS.module_dict.get(name) is not kind:
            warnings.warn(f'{kind!r} is not registered in MODELS, so that build_config cannot name it.', stacklevel=3)
            return None
        cfg = {**cfg, 'type': name}
    try:
        return json.loads(json.dumps(cfg))
    except (TypeError, ValueError) as error:
        warnings.warn(f'The config of {cfg["type"]} does not fit into JSON ({error}): build_config is None.',
                      stacklevel=3)
        return None
