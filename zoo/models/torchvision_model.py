"""Any classification network of torchvision, with named taps."""
from typing import Any

from torch import nn

from zoo.models.tap_points import PointTaps, with_taps
from zoo.registry import MODELS, UnknownNameError, unknown


@MODELS.register_module()
def TorchvisionModel(model_name: str, weights: str | None = None, num_classes: int | None = None,
                     **kwargs: Any) -> nn.Module:
    """A torchvision classification network by name.

    It is torchvision's own module with one method more (:meth:`zoo.models.tap_points.PointTaps.forward_taps`): module
    paths and state-dict keys are torchvision's. ResNets also offer ``preact_feats``, the sums before each stage's last
    ReLU (entry 0 is ``feats[0]``), and ``margin_norms``; those ReLUs then no longer run in place.

    Args:
        model_name: as ``torchvision.models.list_models(module=torchvision.models)`` gives them.
        weights: a name such as ``'DEFAULT'`` or ``'IMAGENET1K_V1'``, downloaded; None initialises at random.
        num_classes: K; None means 1000. Where it differs from that of the weights the classifier is a new one.
        **kwargs: further arguments of the network.

    Returns:
        The network, with the attributes ``classifier_name`` (module path of the final ``nn.Linear``, or None),
        ``mean``, ``std`` and ``input_size`` (C, H, W) as its weights expect, and ``num_prefix_tokens``.

    Raises:
        UnknownNameError: for a name that torchvision does not have, with the nearest names.
        ValueError: where a new classifier is needed and the last layer is no ``nn.Linear``.
    """
    from torchvision import models
    known = models.list_models(module=models)
    if model_name not in known:
        raise UnknownNameError(unknown('torchvision model', model_name, known))
    choices = models.get_model_weights(model_name)
    chosen = None if weights is None else _weights(choices, model_name, weights)
    if chosen is None and num_classes is not None:
        kwargs['num_classes'] = num_classes
    network = with_taps(models.get_model(model_name, weights=chosen, **kwargs), PointTaps)
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    network.classifier_name = linear[-1] if linear else None
    if chosen is not None and num_classes not in (None, len(chosen.meta['categories'])):
        if network.classifier_name is None:
            raise ValueError(f'{model_name} has no final linear layer to replace; '
                             'leave num_classes out, or take weights=None.')
        old = network.get_submodule(network.classifier_name)
        network.set_submodule(network.classifier_name, nn.Linear(old.in_features, num_classes, old.bias is not None))
    preset = (chosen or choices.DEFAULT).transforms()
    network.mean, network.std = tuple(preset.mean), tuple(preset.std)
    size = preset.crop_size[0]
    network.input_size = (3, size, size)
    network.num_prefix_tokens = 1 if isinstance(network, models.VisionTransformer) else 0
    if isinstance(network, models.ResNet):
        _tap_preactivations(network)
    elif isinstance(network, models.SwinTransformer):
        network.channels_last_stages = tuple(f'features.{i}' for i in range(1, len(network.features), 2))
    return network


def _weights(choices, model_name: str, weights: str):
    name = weights.split('.')[-1]
    known = [*choices.__members__, 'DEFAULT']
    if name not in known:
        raise UnknownNameError(unknown(f'weights of {model_name}', weights, known))
    return choices[name]


def _tap_preactivations(network: nn.Module) -> None:
    paths, norms = [], []
    for stage in ('layer1', 'layer2', 'layer3', 'layer4'):
        blocks = network.get_submodule(stage)
        block = blocks[-1]
        # In place, the sum would be overwritten before it is read.
        block.relu.inplace = False
        paths.append(f'{stage}.{len(blocks) - 1}.relu')
        norms.append(f'{stage}.{len(blocks) - 1}.{"bn3" if hasattr(block, "bn3") else "bn2"}')
    network.preact_paths, network.margin_norms = tuple(paths), tuple(norms)
