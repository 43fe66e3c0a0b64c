"""What a network is called in tables and cards."""
from collections.abc import Mapping
from pathlib import Path

#: options that do not decide a network's architecture
SILENT = {'type', 'model_name', 'arch', 'checkpoint', 'pretrained', 'weights', 'untrained', 'num_classes', 'in_channels',
          'num_groups', 'input', 'inherit', 'img_size', 'dynamic_img_size', 'global_pool', 'head_std', 'drop_rate',
          'drop_path_rate'}
HEADS = {'DepthwiseSeparableASPP': 'DeepLabV3+', 'ASPP': 'DeepLabV3', 'PSP': 'PSPNet', 'FCN': 'FCN', 'OCR': 'OCRNet',
         'Segformer': 'SegFormer', 'STDC': 'STDC'}
WIDTHS = {'base_channels': 64, 'widen_factor': 1.0, 'deepen_factor': 1.0}


def architecture(network: Mapping | str) -> str:
    """A network's name from its config, with the options that make it another network than the one so called.

    >>> architecture('resnet8x4'), architecture(dict(type='resnet8', num_classes=10))
    ('resnet8x4', 'resnet8')
    >>> architecture(dict(type='CifarResNet', depth=8, widths=(8, 8, 16, 32)))
    'resnet8 (widths=8-8-16-32)'
    >>> architecture(dict(type='TimmModel', model_name='vit_tiny_patch16_224', img_size=32, depth=6, embed_dim=96))
    'vit_tiny_patch16_224 (depth=6, embed_dim=96)'
    >>> architecture(dict(type='MMDetModel', model=dict(type='GFL', backbone=dict(type='ResNet', depth=18, base_channels=16))))
    'GFL ResNet18 (base_channels=16)'
    """
    if isinstance(network, str):
        return network
    kind = str(network.get('type', ''))
    if kind.startswith('MM') or kind == 'LabelAssistedSegmentor':
        name, options = _dense(network)
    else:
        name = str(network.get('model_name') or network.get('arch') or kind)
        options = {k: v for k, v in network.items() if k not in SILENT}
        if kind == 'CifarResNet' and 'depth' in options:
            name = f'resnet{options.pop("depth")}'
    said = ', '.join(f'{k}={"-".join(map(str, v)) if isinstance(v, (list, tuple)) else v}' for k, v in sorted(options.items()))
    return f'{name} ({said})' if said else name


def _dense(network: Mapping) -> tuple[str, dict]:
    """Of mmdet or mmseg: the detector, or the decode head, and its backbone; where only a config is known, its file's name."""
    model = network.get('model') or {}
    if network.get('config') and 'type' not in model:
        model = _whole(network, model)
    backbone, kind = model.get('backbone') or {}, model.get('type')
    if kind == 'EncoderDecoder':  # of mmseg nearly all are
        head = model.get('decode_head') or {}
        head = str((head[-1] if isinstance(head, list) else head).get('type', '')).removesuffix('Head')
        kind = HEADS.get(head, head) or kind
    changed = {k: backbone[k] for k, usual in WIDTHS.items() if backbone.get(k, usual) != usual}
    if kind is None:
        name = Path(str(network.get('config') or network['type'])).stem
        return name, ({'depth': backbone['depth']} if 'depth' in backbone else {}) | changed
    body = backbone.get('model_name') or f'{backbone.get("type", "")}{backbone.get("depth", "")}'
    label_assisted = 'label-assisted ' if network['type'] == 'LabelAssistedSegmentor' else ''
    return f'{label_assisted}{kind} {body}'.strip(), changed


def _whole(network: Mapping, changes: Mapping) -> Mapping:
    from zoo.models.openmmlab import MissingPackageError, merged, read_model_config
    try:
        return merged(read_model_config(network['config'], 'mmdet' if network['type'] == 'MMDetModel' else 'mmseg'), changes)
    except (MissingPackageError, OSError, ValueError):
        return changes
