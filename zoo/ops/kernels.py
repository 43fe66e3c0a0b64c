"""The table of kernels: functions under the names, and with the arguments, that mmcv calls on its compiled module.

mmcv's operators are Python code (autograd functions, modules, registrations) over a C++/CUDA module, ``mmcv._ext``. The
functions in this package take that module's place. They fill buffers which the caller hands in, as the compiled ones do,
run without gradient and outside autocast, and calculate half precision in float32.
"""
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

KERNELS: dict[str, Callable] = {}


def kernel(function: Callable) -> Callable:
    """Enter ``function`` in :data:`KERNELS`; it runs without gradient and outside autocast."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        tensor = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        device = 'cpu' if tensor is None else tensor.device.type
        with torch.no_grad():
            if not torch.amp.is_autocast_available(device):  # meta tensors, say
                return function(*args, **kwargs)
            with torch.autocast(device, enabled=False):
                return function(*args, **kwargs)

    KERNELS[function.__name__] = run
    return run


def wide(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; anything else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """Gradients of ``function(*inputs)`` by each of its inputs, for the gradient ``grad`` of its output."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in inputs]
        output = function(*leaves)
        return torch.autograd.grad(output, leaves, grad.to(output.dtype))
