"""Kernels that rearrange maps: ``mmcv.ops.carafe``, ``masked_conv2d``, ``psa_mask`` and ``tin_shift``."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import gradients, kernel, wide


def _reassemble(features: Tensor, masks: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    n, channels, height, width = features.shape
    size = kernel_size * kernel_size
    near = F.unfold(features, kernel_size, padding=kernel_size // 2)
    near = near.reshape(n, groups, channels // groups, size, height, width)
    weights = masks.reshape(n, groups, size, height, scale, width, scale)
    out = torch.einsum('ngckhw,ngkhawb->ngchawb', near, weights)
    return out.reshape(n, channels, height * scale, width * scale)


@kernel
def carafe_forward(features: Tensor, masks: Tensor, rfeatures: Tensor, routput: Tensor, rmasks: Tensor, output: Tensor,
                   kernel_size: int, group_size: int, scale_factor: int) -> None:
    """CARAFE (Wang et al., ICCV 2019, arXiv:1905.02188): upsampling, each output pixel by a kernel of its own.

    Args:
        features: ``(N, C, H, W)``; masks: ``(N, groups * k * k, s * H, s * W)``.
        rfeatures: scratch ``(N, C, H, W)``, which the backward kernel gets instead of the features.
        output: ``(N, C, s * H, s * W)``.
    """
    rfeatures.copy_(features)
    output.copy_(_reassemble(wide(features), wide(masks), kernel_size, group_size, scale_factor))


@kernel
def carafe_backward(top_grad: Tensor, rfeatures: Tensor, masks: Tensor, rtop_grad: Tensor, rbottom_grad_hs: Tensor,
                    rbottom_grad: Tensor, rmask_grad: Tensor, bottom_grad: Tensor, mask_grad: Tensor, kernel_size: int,
                    group_size: int, scale_factor: int) -> None:
    """Gradients of :func:`carafe_forward` by features and masks."""
    by_features, by_masks = gradients(lambda f, m: _reassemble(f, m, kernel_size, group_size, scale_factor),
                                      [wide(rfeatures), wide(masks)], wide(top_grad))
    bottom_grad.copy_(by_features)
    mask_grad.copy_(by_masks)


@kernel
def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int,
                         scale_factor: int) -> None:
    """The same as :func:`carafe_forward`."""
    output.copy_(_reassemble(wide(features), wide(masks), kernel_size, group_size, scale_factor))


@kernel
def carafe_naive_backward(top_grad: Tensor, features: Tensor, masks: Tensor, bottom_grad: Tensor, mask_grad: Tensor,
                          kernel_size: int, group_size: int, scale_factor: int) -> None:
    """The same as :func:`carafe_backward`; mmcv calls it on CUDA only."""
    by_features, by_masks = gradients(lambda f, m: _reassemble(f, m, kernel_size, group_size, scale_factor),
                                      [wide(features), wide(masks)], wide(top_grad))
    bottom_grad.copy_(by_features)
    mask_grad.copy_(by_masks)


@kernel
def masked_im2col_forward(im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor, kernel_h: int, kernel_w: int,
                          pad_h: int, pad_w: int) -> None:
    """Fill ``col`` ``(C * kH * kW, M)`` with the windows of ``im`` ``(1, C, H, W)`` at M pixels (rows, columns)."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    rows = mask_h_idx[:, None, None] + torch.arange(kernel_h, device=im.device)[:, None]
    columns = mask_w_idx[:, None, None] + torch.arange(kernel_w, device=im.device)
    col.copy_(padded[:, rows, columns].permute(0, 2, 3, 1).reshape(col.shape))


@kernel
def masked_col2im_forward(col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int,
                          channels: int) -> None:
    """Write the columns of ``col`` ``(C, M)`` to M pixels of ``im`` ``(1, C, H, W)``."""
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)


def _attention_map(mask: Tensor, distribute: bool, shape: tuple[int, int], window: tuple[int, int],
                   half: tuple[int, int]) -> Tensor:
    (height, width), device = shape, mask.device
    inside, place = True, []
    for axis in (0, 1):
        here = torch.arange(shape[axis], device=device)
        offset = here[:, None] - here[None] + half[axis]  # (read at, seen from)
        inside = inside & _spread((offset >= 0) & (offset < window[axis]), axis)
        place.append(_spread(offset.clamp(0, window[axis] - 1), axis))
    index = (place[0] * window[1] + place[1]).expand(height, width, height, width).reshape(1, -1, height, width)
    values = mask.gather(1, index.expand(len(mask), -1, -1, -1))
    values = torch.where(inside.expand(height, width, height, width).reshape(1, -1, height, width), values, 0.)
    if distribute:
        values = values.flatten(2).transpose(1, 2).reshape(values.shape)
    return values


def _spread(grid: Tensor, axis: int) -> Tensor:
    return grid[:, None, :, None] if axis == 0 else grid[None, :, None, :]


@kernel
def psamask_forward(input: Tensor, output: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int, h_mask: int,
                    w_mask: int, half_h_mask: int, half_w_mask: int) -> None:
    """Point-wise spatial attention's masks (Zhao et al., ECCV 2018), moved from each pixel's window to the whole map.

    Args:
        input: ``(N, h_mask * w_mask, H, W)``; output: ``(N, H * W, H, W)``, 0 outside the window.
        psa_type: 0 collect (channels: what the pixel reads), 1 distribute (channels: whom the pixel is read by).
    """
    output.copy_(_attention_map(input, psa_type == 1, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)))


@kernel
def psamask_backward(grad_output: Tensor, grad_input: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int,
                     h_mask: int, w_mask: int, half_h_mask: int, half_w_mask: int) -> None:
    """Gradient of :func:`psamask_forward`."""
    rest = (psa_type == 1, (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask))
    blank = torch.zeros_like(grad_input, dtype=wide(grad_output).dtype)
    grad_input.copy_(gradients(lambda m: _attention_map(m, *rest), [blank], wide(grad_output))[0])


def _shift(input: Tensor, shift: Tensor, back: bool) -> Tensor:
    _, time, channels, _ = input.shape
    steps = shift.long().repeat_interleave(channels // shift.shape[1], 1)[:, None, :]  # (N, 1, C)
    source = torch.arange(time, device=input.device)[None, :, None] + (steps if back else -steps)
    inside = (source >= 0) & (source < time)
    moved = input.gather(1, source.clamp(0, time - 1)[..., None].expand_as(input))
    return torch.where(inside[..., None], moved, 0.)


@kernel
def tin_shift_forward(input: Tensor, shift: Tensor, output: Tensor) -> None:
    """Temporal interlacing (Shao et al., AAAI 2020, arXiv:2001.06499): each channel group moves by its whole number of frames.

    Args:
        input: ``(N, T, C, H * W)``; shift: ``(N, groups)`` integers; output: as the input, 0 where nothing moves in.
    """
    output.copy_(_shift(input, shift, False))


@kernel
def tin_shift_backward(grad_output: Tensor, shift: Tensor, grad_input: Tensor) -> None:
    """Gradient of :func:`tin_shift_forward`: the frames move back (mmcv 2.1's own kernel moves them forward again)."""
    grad_input.copy_(_shift(grad_output, shift, True))
