"""Kernels of ``mmcv.ops.SyncBatchNorm`` (``MMSyncBN``); mmcv averages over the processes between them.

Maps are ``(N, C, L)``; statistics are ``(C,)`` float32.
"""
import torch
from torch import Tensor

from .kernels import kernel, wide


def _column(vector: Tensor) -> Tensor:
    return vector[None, :, None]


@kernel
def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fill the mean of this process's batch."""
    mean.copy_(wide(input).mean((0, 2)))


@kernel
def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fill the mean square distance of this process's batch to the common mean."""
    var.copy_((wide(input) - _column(mean)).square().mean((0, 2)))


@kernel
def sync_bn_forward_output(input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None,
                           running_mean: Tensor | None, running_var: Tensor | None, norm: Tensor, std: Tensor,
                           output: Tensor, eps: float, momentum: float | Tensor, group_size: int) -> None:
    """Fill ``norm``, ``std`` and ``output``; move the running statistics (the variance unbiased) by ``momentum``."""
    std.copy_((var + eps).sqrt())
    norm.copy_((wide(input) - _column(mean)) / _column(std))
    output.copy_(norm if weight is None else norm * _column(weight) + _column(bias))
    if running_mean is not None:
        count = input.shape[0] * input.shape[2] * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        step = torch.as_tensor(momentum, dtype=running_mean.dtype, device=running_mean.device)
        running_mean.copy_(torch.lerp(running_mean, mean.to(running_mean.dtype), step))
        running_var.copy_(torch.lerp(running_var, unbiased.to(running_var.dtype), step))


@kernel
def sync_bn_backward_param(grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor) -> None:
    """Fill the gradients of weight and bias over this process's batch."""
    grad_weight.copy_((wide(grad_output) * norm).sum((0, 2)))
    grad_bias.copy_(wide(grad_output).sum((0, 2)))


@kernel
def sync_bn_backward_data(grad_output: Tensor, weight: Tensor, grad_weight: Tensor, grad_bias: Tensor, norm: Tensor,
                          std: Tensor, grad_input: Tensor) -> None:
    """Fill the gradient by the input, given those of weight and bias averaged over the processes."""
    count = grad_output.shape[0] * grad_output.shape[2]
    centred = wide(grad_output) - (_column(grad_weight) * norm + _column(grad_bias)) / count
    grad_input.copy_(_column(weight / std) * centred)
