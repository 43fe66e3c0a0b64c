"""Focal loss (Lin et al., ICCV 2017, arXiv:1708.02002): kernels of ``mmcv.ops.sigmoid_focal_loss`` and its softmax form.

Targets are ``(N,)`` int64; class weights are ``(K,)`` or empty.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import kernel, wide

TINY = torch.finfo(torch.float32).tiny
FLOOR = math.log(TINY)  # mmcv's floor under a logarithm, in every precision


def _of_target(weight: Tensor, target: Tensor) -> Tensor | float:
    if weight.numel() == 0:
        return 1.
    # background (K, or below 0) has no weight of its own; mmcv reads outside the array there
    return F.pad(wide(weight), (0, 1), value=1.)[torch.where(target < 0, len(weight), target)]


def _one_hot(input: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


@kernel
def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Fill ``output`` ``(N, K)`` with the loss of logits ``(N, K)``; a target of K (or below 0) is background."""
    p = wide(input).sigmoid()
    hit = -alpha * (1 - p).pow(gamma) * F.logsigmoid(wide(input)).clamp_min(FLOOR)
    miss = -(1 - alpha) * p.pow(gamma) * F.logsigmoid(-wide(input)).clamp_min(FLOOR)
    loss = torch.where(_one_hot(input, target), hit, miss)
    output.copy_(loss * _rows(_of_target(weight, target)))


@kernel
def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float,
                                alpha: float) -> None:
    """Fill ``grad_input`` ``(N, K)`` with the derivative of the loss by the logits."""
    p, x = wide(input).sigmoid(), wide(input)
    log_p, log_q = F.logsigmoid(x).clamp_min(FLOOR), F.logsigmoid(-x).clamp_min(FLOOR)
    hit = -alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * log_p)
    miss = -(1 - alpha) * p.pow(gamma) * (gamma * (1 - p) * log_q - p)
    grad_input.copy_(torch.where(_one_hot(input, target), hit, miss) * _rows(_of_target(weight, target)))


def _rows(weight: Tensor | float) -> Tensor | float:
    return weight[:, None] if isinstance(weight, Tensor) else weight


@kernel
def softmax_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Fill ``output`` ``(N,)`` with the loss of probabilities ``input`` ``(N, K)``; a target below 0 costs nothing."""
    known = target >= 0
    p = wide(input).gather(1, target.clamp_min(0)[:, None])[:, 0]
    loss = -alpha * (1 - p).pow(gamma) * p.clamp_min(TINY).log() * _of_target(weight, target)
    output.copy_(torch.where(known, loss, 0.))


@kernel
def softmax_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Fill ``grad_input`` ``(N, K)`` with the derivative of the loss by the logits behind the probabilities ``input``."""
    known, probabilities = target >= 0, wide(input)
    p = probabilities.gather(1, target.clamp_min(0)[:, None])[:, 0]
    q = 1 - p
    slope = gamma * q.clamp_min(TINY).pow(gamma - 1) * p * p.clamp_min(TINY).log() if gamma else 0.
    change = torch.where(known, alpha * (slope - q.pow(gamma)) * _of_target(weight, target), 0.)
    buff.copy_(change)
    grad_input.copy_(change[:, None] * (_one_hot(input, target).to(p.dtype) - probabilities))
