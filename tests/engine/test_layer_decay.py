"""Learning rates layer by layer."""
import pytest

from zoo.engine import LayerDecayConstructor
from zoo.models import TimmModel, build_network

OPTIMIZER = dict(type='AdamW', lr=0.1, weight_decay=0.05)


def groups(student, **paramwise):
    constructor = LayerDecayConstructor(dict(optimizer=dict(OPTIMIZER)), paramwise_cfg=paramwise)
    return constructor(student).optimizer.param_groups


def test_rates_and_decay_of_a_vit():
    """By the formula of MAE's fine-tuning, for every parameter."""
    depth = 3
    net = TimmModel('vit_tiny_patch16_224', img_size=16, patch_size=4, depth=depth, embed_dim=12, num_heads=3, num_classes=5,
                    global_pool='avg')
    found = {id(p): group for group in groups(net, layer_decay=0.5) for p in group['params']}
    names = dict(net.named_parameters())
    assert len(found) == len(names)
    for name, p in names.items():
        if name.startswith(('cls_token', 'pos_embed', 'patch_embed')):
            layer = 0
        elif name.startswith('blocks.'):
            layer = int(name.split('.')[1]) + 1
        else:
            layer = depth + 1
        assert found[id(p)]['lr'] == pytest.approx(0.1 * 0.5**(depth + 1 - layer)), name
        free = p.ndim == 1 or name in ('cls_token', 'pos_embed')
        assert found[id(p)]['weight_decay'] == (0.0 if free else 0.05), name


def test_bad_use():
    with pytest.raises(ValueError, match='layer_decay=0.75'):
        groups(TimmModel('vit_tiny_patch16_224', img_size=16, depth=1))
    with pytest.raises(ValueError, match='network of timm'):
        groups(build_network('resnet8', num_classes=3), layer_decay=0.5)
