"""Stratified subsets of a data set, chosen by a seed."""
import math

import torch
from torch import Tensor


def stratified_order(labels: Tensor | None, *, length: int | None = None, seed: int = 0) -> Tensor:
    """A random order of all samples in which every beginning holds the classes in their overall proportions.

    The r-th sample (from 0) drawn of a class of ``n`` samples stands at ``(r + 1/2) / n`` of the order; ties between
    classes fall at random. So the first ``m`` samples hold within one or two samples of ``m * n / N`` of each class,
    and smaller subsets of one seed lie inside larger ones. No reference code; our construction.

    Args:
        labels: ``(N,)`` integer classes, or None for a plain random order of ``length`` samples.
        length: N, needed only without labels.
        seed: of torch's CPU generator; the global generator is not touched.

    Returns:
        ``(N,)`` int64 positions, each once.
    """
    generator = torch.Generator().manual_seed(seed)
    if labels is None:
        return torch.randperm(length, generator=generator)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.sort(labels[shuffled], stable=True).indices]
    classes, inverse, counts = labels[by_class].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[inverse]
    place = (rank.double() + 0.5) / counts[inverse].double()
    ties = torch.randperm(len(labels), generator=generator)
    return by_class[ties][torch.sort(place[ties], stable=True).indices]


def subset_positions(labels: Tensor | None, length: int, subset: int | float | None, seed: int = 0) -> Tensor | None:
    """The positions kept by ``subset=``: a number of samples (int) or a fraction of all (float in (0, 1]).

    Args:
        labels: ``(N,)`` integer classes for a stratified choice, or None for a plain random one.
        length: N.
        subset: how many; None keeps all.
        seed: see :func:`stratified_order`.

    Returns:
        Sorted int64 positions, or None for all.

    Raises:
        ValueError: where ``subset`` asks for nothing, for more than there is, or is neither int nor float.
    """
    if subset is None:
        return None
    if isinstance(subset, bool) or not isinstance(subset, (int, float)):
        raise ValueError(f'subset must be a number of samples (int) or a fraction (float), got {subset!r}.')
    if isinstance(subset, float):
        if not 0 < subset <= 1:
            raise ValueError(f'subset as a fraction must lie in (0, 1], got {subset}; write a whole number as an int.')
        subset = max(1, math.floor(subset * length + 0.5))
    if not 1 <= subset <= length:
        raise ValueError(f'subset asks for {subset} samples, but the data set has {length}.')
    return stratified_order(labels, length=length, seed=seed)[:subset].sort().values
