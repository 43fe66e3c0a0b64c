"""Deformable convolution v1 (Dai et al., ICCV 2017, arXiv:1703.06211) and v2 (Zhu et al., CVPR 2019, arXiv:1811.11168).

Kernels of ``mmcv.ops.deform_conv2d`` and ``modulated_deform_conv2d`` on :func:`torchvision.ops.deform_conv2d`; both lay
offsets out as (y, x) a kernel position, ``(N, 2 * deform_groups * kH * kW, H', W')``.
"""
import torch
from torch import Tensor

from .kernels import kernel, wide

tv = torch.ops.torchvision


def _no_mask(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return input.new_zeros(input.shape[0], 1), input.new_zeros(weight.shape[0])


@kernel
def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
                        kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
                        group: int, deformable_group: int, im2col_step: int) -> None:
    """Fill ``output`` ``(N, C', H', W')``."""
    x, w, where = wide(input), wide(weight), wide(offset)
    mask, bias = _no_mask(x, w)
    output.copy_(tv.deform_conv2d(x, w, where, mask, bias, dH, dW, padH, padW, dilationH, dilationW, group, deformable_group,
                                  False))


def _gradients(input, weight, offset, grad, dH, dW, padH, padW, dilationH, dilationW, group, deformable_group):
    x, w = wide(input), wide(weight)
    mask, bias = _no_mask(x, w)
    return tv._deform_conv2d_backward(wide(grad), x, w, wide(offset), mask, bias, dH, dW, padH, padW, dilationH, dilationW,
                                      group, deformable_group, False)


@kernel
def deform_conv_backward_input(input: Tensor, offset: Tensor, gradOutput: Tensor, gradInput: Tensor, gradOffset: Tensor,
                               weight: Tensor, columns: Tensor, kW: int, kH: int, dW: int, dH: int, padW: int, padH: int,
                               dilationW: int, dilationH: int, group: int, deformable_group: int, im2col_step: int) -> None:
    """Fill the gradients by input and offset; leaves the weight's in ``columns``."""
    by_input, by_weight, by_offset, *_ = _gradients(input, weight, offset, gradOutput, dH, dW, padH, padW, dilationH,
                                                    dilationW, group, deformable_group)
    gradInput.copy_(by_input)
    gradOffset.copy_(by_offset)
    # torchvision gives all gradients at once: the scratch buffer, which mmcv hands to both calls, saves the second pass
    columns.resize_(by_weight.shape).copy_(by_weight)


@kernel
def deform_conv_backward_parameters(input: Tensor, offset: Tensor, gradOutput: Tensor, gradWeight: Tensor, columns: Tensor,
                                    ones: Tensor, kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int,
                                    dilationH: int, group: int, deformable_group: int, scale: float,
                                    im2col_step: int) -> None:
    """Add the gradient by the weight, times ``scale``, to ``gradWeight``."""
    if columns.shape == gradWeight.shape:
        by_weight = columns
    else:
        by_weight = _gradients(input, gradWeight, offset, gradOutput, dH, dW, padH, padW, dilationH, dilationW, group,
                               deformable_group)[1]
    gradWeight.add_(by_weight.to(gradWeight.dtype), alpha=scale)


@kernel
def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor,
                                  output: Tensor, columns: Tensor, kernel_h: int, kernel_w: int, stride_h: int,
                                  stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int, group: int,
                                  deformable_group: int, with_bias: bool) -> None:
    """Fill ``output`` ``(N, C', H', W')``; ``mask`` is ``(N, deform_groups * kH * kW, H', W')``."""
    x, w = wide(input), wide(weight)
    b = wide(bias) if with_bias else x.new_zeros(w.shape[0])
    output.copy_(tv.deform_conv2d(x, w, wide(offset), wide(mask), b, stride_h, stride_w, pad_h, pad_w, dilation_h,
                                  dilation_w, group, deformable_group, True))


@kernel
def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor,
                                   columns: Tensor, grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor,
                                   grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor, kernel_h: int,
                                   kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int,
                                   dilation_w: int, group: int, deformable_group: int, with_bias: bool) -> None:
    """Fill the gradients by input, weight, bias (if there is one), offset and mask."""
    x, w = wide(input), wide(weight)
    b = wide(bias) if with_bias else x.new_zeros(w.shape[0])
    found = tv._deform_conv2d_backward(wide(grad_output), x, w, wide(offset), wide(mask), b, stride_h, stride_w, pad_h,
                                       pad_w, dilation_h, dilation_w, group, deformable_group, True)
    for target, value in zip((grad_input, grad_weight, grad_offset, grad_mask), found, strict=False):
        target.copy_(value)
    if with_bias:
        grad_bias.copy_(found[4])
