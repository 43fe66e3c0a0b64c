"""Classifier-free guidance."""
import torch
from torch import Tensor

from .parametrisation import broadcast_left


def guided_prediction(cond: Tensor, uncond: Tensor, *, guidance_scale: float | Tensor) -> Tensor:
    """``uncond + g (cond - uncond)``: 1 is the conditional model, 0 the unconditional one.

    Args:
        cond, uncond: outputs ``(N, ...)`` with and without condition (or with a negative prompt), as noise, clean image or
            velocity, which are all affine in the output.
        guidance_scale: g, a number or ``(N,)``.

    Source: Ho and Salimans, NeurIPS 2021 workshop, arXiv:2207.12598.
    """
    scale = broadcast_left(guidance_scale, cond) if isinstance(guidance_scale, torch.Tensor) else guidance_scale
    return uncond + scale * (cond - uncond)
