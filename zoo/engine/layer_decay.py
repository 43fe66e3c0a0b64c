"""Learning rates that fall from the head to the stem."""
from torch import nn

from zoo.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .optim import OptimWrapperConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(OptimWrapperConstructor):
    """Fine-tuning of a timm network: layer by layer towards the input, the learning rate falls by a factor.

    ``optim_wrapper=dict(constructor='LayerDecayConstructor', paramwise_cfg=dict(layer_decay=0.75), ...)``. In a ViT of
    depth d, embeddings are layer 0, block i is layer i + 1, all behind the blocks is layer d + 1, and layer n has the rate
    times ``layer_decay ** (d + 1 - n)`` (BEiT: Bao et al., ICLR 2022; MAE's fine-tuning). Biases, other vectors and what
    the network's ``no_weight_decay()`` names are not decayed. The layers are timm's (``group_matcher``).

    Raises:
        ValueError: if ``layer_decay`` is missing, or the student is no network of timm.
    """

    def student_groups(self, student: nn.Module, cfg: dict) -> list[dict]:
        """Optimiser groups with their own ``lr`` and ``weight_decay``."""
        from timm.optim import param_groups_layer_decay
        options = dict(self.paramwise_cfg or {})
        decay = options.pop('layer_decay', None)
        if decay is None or options:
            raise ValueError(f'LayerDecayConstructor takes paramwise_cfg=dict(layer_decay=0.75) and nothing else, got '
                             f'{dict(self.paramwise_cfg or {})}.')
        if not hasattr(student, 'group_matcher'):
            raise ValueError(f'LayerDecayConstructor needs a network of timm as the student, not {type(student).__name__}.')
        fixed = student.no_weight_decay() if hasattr(student, 'no_weight_decay') else ()
        groups = param_groups_layer_decay(student, weight_decay=cfg.get('weight_decay', 0.0), no_weight_decay_list=fixed,
                                          layer_decay=decay)
        return [dict(params=group['params'], weight_decay=group['weight_decay'], lr=cfg['lr'] * group['lr_scale'])
                for group in groups]
