"""Classification heads that stand beside a network's own."""
import torch
from torch import nn

from zoo.registry import MODELS


@MODELS.register_module()
class AuxHead(nn.Module):
    """The nonlinear auxiliary head of dual-head knowledge distillation (Yang et al., KDD 2025, arXiv:2411.08937).

    Linear(dim_in, 200), Dropout(p), BatchNorm1d(200), ReLU, Linear(200, K), torch's default initialisation.

    Args:
        dim_in: width of the pooled feature.
        num_classes: K.
        p: dropout rate.
    """

    def __init__(self, dim_in: int, num_classes: int, p: float = 0.1):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim_in, 200), nn.Dropout(p), nn.BatchNorm1d(200), nn.ReLU(),
                                    nn.Linear(200, num_classes))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """``(N, dim_in)`` -> logits ``(N, K)``."""
        return self.layers(pooled)
