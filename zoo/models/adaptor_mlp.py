"""The head of agglomerative distillation: from a student's feature to one teacher's."""
import torch
from torch import nn

from zoo.registry import MODELS

__all__ = ['MLP2']


@MODELS.register_module()
class MLP2(nn.Module):
    """Linear, residual blocks ``h + Linear(GELU(LayerNorm(h)))``, then LayerNorm, GELU, Linear.

    As the heads of NVlabs/RADIO@c0f3701 (AM-RADIO: Ranzinger et al., CVPR 2024, arXiv:2312.06709); the entries ``fc1``,
    ``blocks.<i>`` and ``final`` are theirs too.

    Args:
        in_dim: of the student's feature.
        hidden_dim: H.
        out_dim: of the teacher's feature.
        num_blocks: residual blocks, 0 or more.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, *, num_blocks: int):
        super().__init__()
        if num_blocks < 0:
            raise ValueError(f'num_blocks must be 0 or more, not {num_blocks}.')
        self.fc1 = nn.Linear(in_dim, hidden_dim)
        self.blocks = nn.ModuleList(_normed_linear(hidden_dim, hidden_dim) for _ in range(num_blocks))
        self.final = _normed_linear(hidden_dim, out_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., in_dim)`` to ``(..., out_dim)``."""
        x = self.fc1(x)
        for block in self.blocks:
            x = x + block(x)
        return self.final(x)


def _normed_linear(in_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(in_dim), nn.GELU(), nn.Linear(in_dim, out_dim))
