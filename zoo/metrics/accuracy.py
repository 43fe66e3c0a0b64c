"""Top-k accuracy of classifiers."""
from collections.abc import Sequence

from torch import Tensor


def check_logits(logits: Tensor, labels: Tensor | None = None, *, name: str = 'logits') -> None:
    """Check that ``logits`` is ``(N, K)`` floating and ``labels`` ``(N,)`` integer.

    Raises:
        ValueError: wrong rank, an empty batch, or lengths that differ.
        TypeError: integer logits or floating labels.
    """
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f'{name} must be (N, K) with N and K at least 1; got {tuple(logits.shape)}.')
    if not logits.is_floating_point():
        raise TypeError(f'{name} must be a floating tensor of scores; got {logits.dtype}.')
    if labels is None:
        return
    if labels.shape != logits.shape[:1]:
        raise ValueError(f'labels must be ({len(logits)},), one class index per row of {name}; '
                         f'got {tuple(labels.shape)}. Take argmax(-1) of one-hot or soft labels first.')
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f'labels must be integer class indices; got {labels.dtype}.')


def topk_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the ``k`` highest logits.

    Args:
        logits: ``(N, K)`` scores.
        labels: ``(N,)`` class indices.
        k: number of guesses; more than ``K`` counts as ``K``.

    Returns:
        ``(N,)`` bool. Equal logits are ordered as ``argmax`` and ``topk`` order them, so that a constant
        output does not count as right.
    """
    check_logits(logits, labels)
    if k < 1:
        raise ValueError(f'k must be at least 1; got {k}.')
    if k == 1:
        return logits.argmax(-1) == labels
    guesses = logits.topk(min(k, logits.shape[1]), -1).indices
    return (guesses == labels[:, None]).any(-1)


def accuracy(logits: Tensor, labels: Tensor, topk: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Top-k accuracy in percent.

    Args:
        logits: ``(N, K)`` scores.
        labels: ``(N,)`` class indices.
        topk: the ``k`` to report; each is capped to ``K`` and keeps its name (``top5`` of 3 classes is 100).

    Returns:
        ``{'top1': percent, 'top5': percent}``, one key for each entry of ``topk``.

    >>> import torch
    >>> accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0]), topk=(1,))
    {'top1': 75.0}
    """
    return {f'top{k}': 100 * topk_correct(logits, labels, k).double().mean().item() for k in topk}
