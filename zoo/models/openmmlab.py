"""Detectors of mmdet and segmentors of mmseg (Chen et al., arXiv:1906.07155; https://github.com/open-mmlab), from their own
configs, without their compiled operators; and timm's networks as their backbones.

The networks are those of mmdet and mmseg themselves: their checkpoints load, and ours load there. Both packages are
imported when a network of theirs is first built.
"""
import copy
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from zoo.models.checkpoint import CheckpointError, read_state_dict
from zoo.registry import MODELS, near_names

#: package -> (what pip calls it, the zoo's extra)
PACKAGES = dict(mmdet=('mmdet', 'det'), mmseg=('mmsegmentation', 'seg'))
#: heads whose ``num_classes`` is not that of the data: an edge detector, and proposals
OWN_CLASSES = ('STDCHead',)
TUPLE = '__tuple__'


class MissingPackageError(ValueError, ImportError):
    """An optional package that this part of the zoo needs; the message says what to install."""


def require(package: str) -> None:
    """Import mmdet or mmseg with the zoo's operators under it, and enter all that it registers.

    Args:
        package: ``'mmdet'`` or ``'mmseg'``.

    Raises:
        MissingPackageError: if it, or what it needs, is not installed.
    """
    import zoo.ops
    pip_name, extra = PACKAGES[package]
    advice = f"pip install '.[{extra}]' in the zoo's folder installs it ({pip_name}, mmcv-lite>=2.1,<2.2, and what they need)."
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f'This config needs {package}, which is not installed: {advice}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            zoo.ops.install()
            importlib.import_module(f'{package}.utils').register_all_modules(init_default_scope=False)
    except (ImportError, AssertionError) as error:  # mmdet and mmseg assert mmcv's version
        raise MissingPackageError(f'{package} cannot be imported ({str(error).strip().splitlines()[0]}): {advice}') from error


# ---- configs

def read_model_config(config: str | Path, package: str) -> dict:
    """The ``model`` of a config of mmdet or mmseg as plain data.

    Args:
        config: ``'mmdet::gfl/gfl_r50_fpn_1x_coco.py'`` (of the installed package) or a file.
        package: where the network is looked for.

    Raises:
        FileNotFoundError: with near names.
        ValueError: where the file has no ``model``.
    """
    text = str(config)
    if '::' in text:
        package, _, text = text.partition('::')
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingPackageError(f'{config}: the package {package} is not installed.')
        root = Path(spec.origin).parent / '.mim' / 'configs'
        path = root / text
        if not path.is_file():
            known = [str(p.relative_to(root)) for p in root.rglob('*.py') if '_base_' not in p.parts]
            near = near_names(text, known)
            raise FileNotFoundError(f'{package} has no config {text}. '
                                    + (f'Did you mean {", ".join(f"{package}::{name}" for name in near)}?' if near else ''))
    else:
        path = Path(text).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'No config {path}; configs of the package are named {package}::folder/name.py.')
    content = Config.fromfile(path, import_custom_modules=False)
    if 'model' not in content:
        raise ValueError(f'{config} has no `model`.')
    return content.to_dict()['model']


def merged(base: Any, changes: Any) -> Any:
    """``base`` with ``changes``: dicts are merged, and replaced where ``type`` differs or ``_delete_`` says so; everything
    else is replaced. A list of dicts is changed entry by entry by a dict of positions, ``{0: ..., 2: ...}``."""
    if not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    positions = all(str(key).lstrip('-').isdigit() for key in changes)
    if isinstance(base, (list, tuple)) and changes and positions:
        result = list(base)
        for key, value in changes.items():
            result[int(key)] = merged(result[int(key)], value)
        return result
    changes = dict(changes)
    fresh = changes.pop('_delete_', False) or not isinstance(base, Mapping) or (
        'type' in changes and 'type' in base and changes['type'] != base['type'])
    result = {} if fresh else copy.deepcopy(dict(base))
    for key, value in changes.items():
        result[key] = merged(result.get(key), value)
    return result


def _dicts(value: Any) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
        for entry in value.values():
            yield from _dicts(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _dicts(entry)


def set_num_classes(model: dict, num_classes: int) -> None:
    """Give every head of a model's config this number of classes, in place (not the RPN, whose class is "object")."""
    for name in ('bbox_head', 'roi_head', 'mask_head', 'panoptic_head', 'panoptic_fusion_head', 'semantic_head', 'seg_head',
                 'decode_head', 'auxiliary_head'):
        for part in _dicts(model.get(name)):
            if part.get('type') in OWN_CLASSES:
                continue
            old = part.get('num_classes')
            if isinstance(old, int):
                part['num_classes'] = num_classes
            if isinstance(part.get('num_things_classes'), int):  # panoptic heads count both kinds
                old = part['num_things_classes'] + (part.get('num_stuff_classes') or 0)
                part.update(num_things_classes=num_classes, num_stuff_classes=0)
    for part in _dicts(model):
        weights = part.get('class_weight')
        if isinstance(weights, (list, tuple)) and len(weights) not in (0, num_classes, num_classes + 1):
            if len(set(weights[:-1])) == 1:  # one for each class and another for "no object"
                part['class_weight'] = [weights[0]] * num_classes + [weights[-1]]
            else:
                del part['class_weight']
                print_log(f'{part.get("type")}: its weights of {len(weights)} classes are left out, for the data has '
                          f'{num_classes}.', 'current', logging.WARNING)


def without_pretrained(model: dict) -> None:
    """Drop everything that fetches ImageNet weights, in place; a backbone that lost them is not frozen either."""
    lost = False
    for part in _dicts(model):
        init = part.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            del part['init_cfg']
            lost = lost or part is model.get('backbone')
        if isinstance(part.get('pretrained'), str):
            part['pretrained'] = None
            lost = lost or part is model or part is model.get('backbone')
    backbone = model.get('backbone')
    if lost and isinstance(backbone, dict):
        if backbone.get('frozen_stages', -1) >= 0:
            backbone['frozen_stages'] = -1
        if backbone.get('norm_eval'):
            backbone['norm_eval'] = False


def _plain_norms(model: dict) -> None:
    """BN in place of SyncBN, as mmseg's own tools do in one process; with several, the config's ``sync_bn`` puts it back."""
    for part in _dicts(model):
        if part.get('type') in ('SyncBN', 'MMSyncBN'):
            part['type'] = 'BN'


def _packed(value: Any) -> Any:
    """JSON has no tuples, and some networks insist on them."""
    if isinstance(value, tuple):
        return {TUPLE: [_packed(v) for v in value]}
    if isinstance(value, Mapping):
        return {k: _packed(v) for k, v in value.items()}
    return [_packed(v) for v in value] if isinstance(value, list) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {TUPLE}:
            return tuple(_unpacked(v) for v in value[TUPLE])
        return {k: _unpacked(v) for k, v in value.items()}
    return [_unpacked(v) for v in value] if isinstance(value, list) else value


# ---- networks

def _build(package: str, kind: str, config, changes, num_classes, pretrained) -> nn.Module:
    require(package)
    if config is None and not changes:
        raise ValueError(f'{kind} needs config={package}::... (or a path), or model=dict(type=...).')
    resolved = merged({} if config is None else read_model_config(config, package), _unpacked(changes or {}))
    if 'type' not in resolved:
        raise ValueError(f'{kind}: model=dict(...) has no type, and config is None.')
    if num_classes is not None:
        set_num_classes(resolved, num_classes)
    if not pretrained:
        own = changes.get('backbone', {}) if isinstance(changes, Mapping) else {}
        without_pretrained(resolved)
        if isinstance(own, Mapping):  # what the user says stands
            for key in ('frozen_stages', 'norm_eval'):
                if key in own:
                    resolved['backbone'][key] = own[key]
    _plain_norms(resolved)
    registry = importlib.import_module(f'{package}.registry').MODELS
    plain = copy.deepcopy(resolved)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)  # the packages' own deprecations
            network = registry.build(dict(Config(dict(model=resolved)).model, _scope_=package))
    except (KeyError, TypeError, AssertionError, AttributeError, ValueError) as error:
        raise ValueError(f'{package} cannot build {resolved.get("type")}: {type(error).__name__}: '
                         f'{" ".join(str(error).split())[:300]}') from error
    _check_channels(network, plain)
    level = logging.root.manager.disable
    logging.disable(logging.INFO)  # a line for each parameter
    try:
        with DefaultScope.overwrite_default_scope(package):
            network.init_weights()
    except OSError as error:
        raise ValueError(f'The backbone\'s ImageNet weights cannot be fetched ({str(error).splitlines()[0]}): set '
                         'pretrained=False, or give the backbone a checkpoint.') from error
    finally:
        logging.disable(level)
    if pretrained:  # what was fetched is in the released weights
        without_pretrained(plain)
    keep_build_config(network, kind, plain)
    return network


def keep_build_config(network: nn.Module, kind: str, model: dict) -> None:
    """Note how the network is built again, fit for JSON: ``network.build_config``."""
    network.build_config = dict(type=kind, model=_packed(model))


def set_data_preprocessor(network: nn.Module, module: nn.Module, config: Mapping | None) -> None:
    """Make the run's preprocessing the network's own, so that what is released predicts by itself."""
    network.data_preprocessor = module
    build = getattr(network, 'build_config', None)
    if config is not None and build is not None:
        plain = {k: v for k, v in dict(config).items() if k != '_scope_'}
        plain['type'] = str(plain['type']).rpartition('.')[2]
        plain.pop('batch_augments', None)  # of training
        build['model']['data_preprocessor'] = _packed(_unpacked(plain))


def _check_channels(network: nn.Module, config: dict) -> None:
    """Tell wrong ``in_channels`` behind a timm backbone before a dry run stumbles over them."""
    backbone = getattr(network, 'backbone', None)
    if not isinstance(backbone, TimmBackbone):
        return
    have = backbone.channels
    neck = config.get('neck')
    neck = neck[0] if isinstance(neck, (list, tuple)) else neck
    if isinstance(neck, dict) and isinstance(neck.get('in_channels'), (list, tuple)):
        if list(neck['in_channels']) != have:
            raise ValueError(f'neck.in_channels is {list(neck["in_channels"])}, but {backbone.model_name} with '
                             f'out_indices={backbone.out_indices} gives {have}: set neck.in_channels={have}.')
        return
    if neck is not None:
        return
    heads = config.get('decode_head'), config.get('auxiliary_head')
    for head in (h for entry in heads for h in (entry if isinstance(entry, (list, tuple)) else [entry])):
        if not isinstance(head, dict) or 'in_channels' not in head:
            continue
        index, wanted = head.get('in_index', -1), head['in_channels']
        indices, wanted = (list(index), list(wanted)) if isinstance(index, (list, tuple)) else ([index], [wanted])
        for position, channels in zip(indices, wanted):
            if not -len(have) <= position < len(have) or have[position] != channels:
                raise ValueError(f'{head.get("type")} reads entry {position} with {channels} channels, but '
                                 f'{backbone.model_name} with out_indices={backbone.out_indices} gives {have}: set in_index '
                                 'and in_channels of decode_head and auxiliary_head.')


@MODELS.register_module()
def MMDetModel(config: str | None = None, model: dict | None = None, num_classes: int | None = None,
               pretrained: bool = False) -> nn.Module:
    """A detector of mmdet, as mmdet builds it.

    Args:
        config: ``'mmdet::gfl/gfl_r50_fpn_1x_coco.py'``, a config file, or None where ``model`` is the whole.
        model: changes to the config's ``model`` (see :func:`merged`), or all of it.
        num_classes: of all heads.
        pretrained: let the backbone fetch the ImageNet weights that its config names. Else it starts at random, and then
            neither ``frozen_stages`` nor ``norm_eval`` of the config are kept, unless ``model`` says them itself.

    Returns:
        The mmdet model, with initialised weights; its ``build_config`` holds the resolved config.

    Raises:
        MissingPackageError: without mmdet.
        FileNotFoundError, ValueError: for a config that is not there or cannot be built.
    """
    return _build('mmdet', 'MMDetModel', config, model, num_classes, pretrained)


@MODELS.register_module()
def MMSegModel(config: str | None = None, model: dict | None = None, num_classes: int | None = None,
               pretrained: bool = False) -> nn.Module:
    """A segmentor of mmseg, as mmseg builds it; arguments, return and errors as of :func:`MMDetModel`."""
    return _build('mmseg', 'MMSegModel', config, model, num_classes, pretrained)


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """A timm network as a backbone of mmdet and mmseg: a tuple of maps, shallow to deep.

    Args:
        model_name: of timm.
        out_indices: which of its maps (of strides 2, 4, 8, ... for most convolutional networks).
        output_stride: 8 or 16 keeps later maps that large by dilation, where the network allows it; None for its own.
        pretrained: fetch timm's weights.
        checkpoint: a file or address with weights of the timm network; its classifier is left out.
        norm_eval: keep BatchNorm's statistics as they are in training.
        trust_pickle: of the checkpoint, see :func:`zoo.models.load_checkpoint`.
        **options: of ``timm.create_model``.

    Attributes:
        channels: of the maps.
        strides: of the maps.

    Raises:
        ValueError: for unknown names or indices, or options that the network does not take.
        CheckpointError: for a checkpoint that does not fit.
    """

    def __init__(self, model_name: str, out_indices: Sequence[int] = (1, 2, 3, 4), output_stride: int | None = None,
                 pretrained: bool = False, checkpoint: str | None = None, norm_eval: bool = False,
                 trust_pickle: bool = False, init_cfg: None = None, **options):
        super().__init__()
        import timm
        if not timm.is_model(model_name.partition('.')[0]):
            near = near_names(model_name, timm.list_models())
            raise ValueError(f'timm has no {model_name!r}. ' + (f'Did you mean {", ".join(near)}?' if near else ''))
        if output_stride is not None:
            options['output_stride'] = output_stride
        self.model_name, self.out_indices, self.norm_eval = model_name, tuple(out_indices), norm_eval
        try:
            self.net = timm.create_model(model_name, features_only=True, out_indices=self.out_indices, pretrained=pretrained,
                                         **options)
        except (TypeError, AssertionError, IndexError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f'timm cannot build {model_name} with out_indices={self.out_indices}'
                             f'{f" and {options}" if options else ""}: {str(error).splitlines()[0] if str(error) else error!r}'
                             ) from error
        self.channels: list[int] = list(self.net.feature_info.channels())
        self.strides: list[int] = list(self.net.feature_info.reduction())
        if checkpoint is not None:
            self._load(checkpoint, trust_pickle)

    def _load(self, checkpoint: str, trust_pickle: bool) -> None:
        state = {k.replace('.', '_'): v for k, v in read_state_dict(checkpoint, trust_pickle=trust_pickle).items()}
        wanted, found, lacking = self.net.state_dict(), {}, []
        for key, value in wanted.items():  # timm joins the names of nested modules by an underscore
            flat = key.replace('.', '_')
            given = state.get(flat, state.get(flat.removeprefix('model_')))
            if given is None:
                lacking.append(key)
            elif given.shape != value.shape:
                raise CheckpointError(f'{checkpoint} does not fit {self.model_name}: {key} is {list(given.shape)} in the file '
                                      f'and {list(value.shape)} in the network.')
            else:
                found[key] = given
        lacking = [key for key in lacking if not key.endswith('num_batches_tracked')]
        if lacking:
            raise CheckpointError(f'{checkpoint} does not fit {self.model_name}: {len(lacking)} of {len(wanted)} entries are '
                                  f'missing ({", ".join(lacking[:4])}).')
        self.net.load_state_dict(found, strict=False)

    def init_weights(self) -> None:
        """Nothing: timm initialised it, or it was loaded."""

    def train(self, mode: bool = True) -> 'TimmBackbone':
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``(N, 3, H, W)`` to maps ``(N, C_i, H / s_i, W / s_i)``."""
        return tuple(self.net(images))
