"""Any network of timm (Wightman, https://github.com/huggingface/pytorch-image-models), with named taps."""
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from zoo.models.tap_points import with_taps
from zoo.registry import MODELS, UnknownNameError, unknown

_VIT_FEATS = 4


class TimmTaps:
    """Adds ``forward_taps`` to a timm network; see :func:`TimmModel`."""

    tap_names: tuple[str, ...] = ('logits', 'pooled', 'final_map', 'tokens', 'feats')
    classifier_name: str | None = None
    margin_norms: tuple[str, ...] | None = None
    stem_feats: int = 0
    feat_indices: list[int] | None = None

    def forward_taps(self, x: torch.Tensor, names: Iterable[str] | None = None) -> dict:
        """Named tensors of one pass.

        Args:
            x: images ``(N, C, H, W)``.
            names: which taps to return; None means all that the network has.

        Returns:
            ``logits`` (N, K); ``pooled`` (N, D), the classifier's input; ``final_map`` (N, D, H, W) or ``tokens``
            (N, L, D), prefix tokens first, whichever ``forward_features`` gives; ``feats``: maps of the stages, deepest
            last, or of four evenly spaced blocks where all blocks have one resolution (a ViT, an MLP).

        Raises:
            UnknownNameError: where ``names`` holds something that this network does not offer.
        """
        names = None if names is None else tuple(names)
        if names == ('logits',):
            return {'logits': self.forward(x)}
        for name in names or ():
            if name not in self.tap_names:
                raise UnknownNameError(unknown(f'tap of {type(self).__name__}', name, self.tap_names))
        found = {}
        if 'feats' in self.tap_names and (names is None or 'feats' in names):
            features, found['feats'] = self.forward_intermediates(x, indices=self.feat_indices, output_fmt='NCHW')
        else:
            features = self.forward_features(x)
        if names is None or 'logits' in names or 'pooled' in names:
            found['logits'], found['pooled'] = self._classify(features)
        if isinstance(features, torch.Tensor) and features.ndim == 4:
            found['final_map'] = features.permute(0, 3, 1, 2) if self._channels_last(features) else features
        elif isinstance(features, torch.Tensor) and features.ndim == 3:
            found['tokens'] = features
        for name in names or ():
            if name not in found:
                raise UnknownNameError(unknown(f'tap of {type(self).__name__}', name, found))
        return found if names is None else {name: found[name] for name in names}

    def _classify(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and the classifier's input, from one run of the head, so that both see the same dropout mask."""
        classifier = self.get_classifier()
        if not isinstance(classifier, nn.Module) or isinstance(classifier, nn.Identity):
            return self.forward_head(features), self.forward_head(features, pre_logits=True)
        inputs = []
        handle = classifier.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            logits = self.forward_head(features)
        finally:
            handle.remove()
        # Some classifiers pool too (Sequencer's), so that their input is still a map.
        if not inputs or inputs[-1].numel() != inputs[-1].shape[0] * inputs[-1].shape[1]:
            return logits, self.forward_head(features, pre_logits=True)
        return logits, inputs[-1].flatten(1)

    def _channels_last(self, features: torch.Tensor) -> bool:
        """Whether a 4-D ``features`` is (N, H, W, C)."""
        first, last = features.shape[1] == self.num_features, features.shape[3] == self.num_features
        return last and not first if first != last else str(getattr(self, 'output_fmt', 'NCHW')) == 'NHWC'


@MODELS.register_module()
def TimmModel(model_name: str, pretrained: bool = False, num_classes: int | None = None, in_chans: int = 3,
              head_std: float | None = None, **kwargs: Any) -> nn.Module:
    """A timm network by name.

    It is timm's own module with one method more (:meth:`TimmTaps.forward_taps`): module paths and state-dict keys are
    timm's, so that its checkpoints load as they are.

    Args:
        model_name: as ``timm.list_models()`` gives them, also with a tag (``'resnet18.a1_in1k'``), or ``hf-hub:...``.
        pretrained: download timm's weights.
        num_classes: K; None keeps what the architecture or its weights have.
        in_chans: channels of the image.
        head_std: standard deviation of the classifier's initial weights, cut off at two of them, with biases 0; for
            fine-tuning, where it is small. None leaves timm's.
        **kwargs: further arguments of ``timm.create_model``.

    Returns:
        The network, with the attributes ``classifier_name`` (module path of the final ``nn.Linear``, or None),
        ``mean``, ``std`` and ``input_size`` (C, H, W) as its weights expect, ``num_prefix_tokens`` (0 for maps) and
        ``stem_feats`` (how many entries of ``feats`` have a stride below 4).

    Raises:
        UnknownNameError: for a name that timm does not have, with the nearest names.
    """
    import timm
    if ':' not in model_name and not timm.is_model(model_name.split('.')[0]):
        raise UnknownNameError(unknown('timm model', model_name, timm.list_models()))
    if num_classes is not None:
        kwargs['num_classes'] = num_classes
    if in_chans != 3:
        kwargs['in_chans'] = in_chans
    network = with_taps(timm.create_model(model_name, pretrained=pretrained, **kwargs), TimmTaps)
    expects = network.pretrained_cfg
    network.mean, network.std = tuple(expects['mean']), tuple(expects['std'])
    network.input_size = tuple(expects['input_size'])
    if not hasattr(network, 'num_prefix_tokens'):
        network.num_prefix_tokens = 0
    network.classifier_name = _classifier_name(network)
    if head_std is not None and network.classifier_name is not None:
        classifier = network.get_submodule(network.classifier_name)
        nn.init.trunc_normal_(classifier.weight, std=head_std, a=-2 * head_std, b=2 * head_std)
        nn.init.zeros_(classifier.bias)
    _choose_feats(network)
    return network


def _classifier_name(network: nn.Module) -> str | None:
    classifier = network.get_classifier()
    first = classifier[0] if isinstance(classifier, (tuple, list)) else classifier
    if not isinstance(first, nn.Linear):
        return None
    return next((path for path, module in network.named_modules() if module is first), None)


def _choose_feats(network: nn.Module) -> None:
    """Which maps ``forward_intermediates`` is asked for."""
    if not hasattr(network, 'forward_intermediates'):
        network.tap_names = tuple(name for name in TimmTaps.tap_names if name != 'feats')
        return
    reductions = [info['reduction'] for info in getattr(network, 'feature_info', ())]
    if len(set(reductions)) > 1:
        network.stem_feats = sum(reduction < 4 for reduction in reductions)
    elif len(reductions) > _VIT_FEATS:
        count = len(reductions)
        network.feat_indices = [(i + 1) * count // _VIT_FEATS - 1 for i in range(_VIT_FEATS)]
