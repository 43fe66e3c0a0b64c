"""Similarity of two networks' representations of the same images: centred kernel alignment (CKA)."""
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.calibration import full_precision


def paired_features(x: Tensor, y: Tensor, *, at_least: int = 2) -> tuple[Tensor, Tensor]:
    """Both flattened to ``(n, d)``, in float32 or better.

    Raises:
        ValueError: different or too few images.
    """
    if x.ndim < 2 or y.ndim < 2 or len(x) != len(y) or len(x) < at_least:
        raise ValueError(f'x and y must be (n, ...) of the same n images, at least {at_least}; '
                         f'got {tuple(x.shape)} and {tuple(y.shape)}.')
    x, y = full_precision(x.flatten(1)), full_precision(y.flatten(1))
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def centred_alignment(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """``<HKH, HLH> / (|HKH| |HLH|)`` of two kernels ``(n, n)``, ``H`` the centring matrix; a scalar."""
    kernel_x, kernel_y = (k - k.mean(0) - k.mean(1, keepdim=True) + k.mean() for k in (kernel_x, kernel_y))
    return (kernel_x * kernel_y).sum() / (kernel_x.norm() * kernel_y.norm())


def unbiased_hsic(kernel_x: Tensor, kernel_y: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion.

    Args:
        kernel_x, kernel_y: ``(n, n)``, ``n >= 4``; the diagonals do not count.

    Returns:
        A scalar; may be negative. Source: Nguyen et al., ICLR 2021, arXiv:2010.15327, eq. (3).
    """
    n = len(kernel_x)
    off_diagonal = 1 - torch.eye(n, dtype=kernel_x.dtype, device=kernel_x.device)
    k, m = kernel_x * off_diagonal, kernel_y * off_diagonal
    cross = (k.sum(0) * m.sum(1)).sum()
    total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
    return total / (n * (n - 3))


def _hsic_triple(x: Tensor, y: Tensor) -> Tensor:
    x, y = paired_features(x, y, at_least=4)
    kernel_x, kernel_y = x @ x.T, y @ y.T
    return torch.stack([unbiased_hsic(kernel_x, kernel_y), unbiased_hsic(kernel_x, kernel_x),
                        unbiased_hsic(kernel_y, kernel_y)])


def linear_cka(x: Tensor, y: Tensor, *, unbiased: bool = False) -> Tensor:
    """Linear centred kernel alignment.

    Args:
        x: ``(n, ...)`` features, flattened per image; half precision is computed in float32.
        y: ``(n, ...)`` features of the same images; other sizes are welcome.
        unbiased: with the unbiased HSIC estimate (``n >= 4``), which does not grow with the width.

    Returns:
        A scalar, 1 for representations equal up to rotation and scale; in 0..1 if biased; nan where a representation
        is the same for all images.

    Source: Kornblith et al., ICML 2019, arXiv:1905.00414; unbiased form Nguyen et al., ICLR 2021, arXiv:2010.15327.
    No reference code: our reading of the papers.
    """
    if unbiased:
        return minibatch_cka([x], [y])
    x, y = paired_features(x, y)
    x, y = x - x.mean(0), y - y.mean(0)
    if len(x) <= max(x.shape[1], y.shape[1]):
        return centred_alignment(x @ x.T, y @ y.T)
    # the same value from matrices of the features' size
    return (y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())


def minibatch_cka(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
    """Linear CKA over batches: the unbiased HSIC estimates are averaged first, then divided.

    Args:
        x: batches ``(n_i, ...)``, each of at least 4 images; every batch counts the same.
        y: batches of the same images.

    Returns:
        A scalar, at most about 1; may be negative. Source: Nguyen et al., ICLR 2021, arXiv:2010.15327, eq. (2)-(3). No
        reference code: our reading of the paper.

    Raises:
        ValueError: no batches, or lists of different lengths.
    """
    x, y = list(x), list(y)
    if len(x) != len(y) or not x:
        raise ValueError(f'x and y must be lists of as many batches, at least one; got {len(x)} and {len(y)}.')
    cross, own_x, own_y = torch.stack([_hsic_triple(a, b) for a, b in zip(x, y)]).mean(0)
    # two roots, as the product of two small numbers may underflow
    return cross / (own_x.sqrt() * own_y.sqrt())


def preact_cka(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """CKA between the CHANNELS of two feature maps, with a radial kernel of median width.

    The maps are averaged over space; each channel is then a point with one coordinate per image, so the kernels are
    ``(C, C)`` and both maps need the same ``C``.

    Args:
        student_feat: ``(N, H, W, C)``, channels last.
        teacher_feat: ``(N, H, W, C)``; ``H`` and ``W`` may differ.

    Returns:
        A scalar in 0..1.

    Raises:
        ValueError: other shapes, or a map whose channels are all alike.

    Source: Stanton et al., NeurIPS 2021, arXiv:2106.05945; samuelstanton/gnosis@7a40c5d.
    """
    if student_feat.ndim != 4 or teacher_feat.ndim != 4 or student_feat.shape[::3] != teacher_feat.shape[::3]:
        raise ValueError('student_feat and teacher_feat must be (N, H, W, C), channels last, of the same N and C; '
                         f'got {tuple(student_feat.shape)} and {tuple(teacher_feat.shape)}.')
    kernels = []
    for feat in (student_feat, teacher_feat):
        channels = full_precision(feat).mean((1, 2)).T
        distance = torch.cdist(channels, channels, compute_mode='donot_use_mm_for_euclid_dist').square()
        positive = distance[distance > 0]
        if len(positive) == 0:
            raise ValueError('preact_cka has no kernel width: all channels of a feature map are alike.')
        low, high = (positive.kthvalue(k).values for k in ((len(positive) + 1) // 2, len(positive) // 2 + 1))
        kernels.append(torch.exp(-distance / (low + high)))  # the median twice
    return centred_alignment(*kernels)
