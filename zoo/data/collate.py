"""Samples to one batch."""
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_batch(samples: Mapping | Sequence[Mapping]) -> dict:
    """One dict of batched tensors from a list of samples; a batch that a data set gathered itself passes through.

    Args:
        samples: a dict (already a batch: returned as it is), or a list of dicts with the same keys, whose tensors are
            stacked, whose numbers become int64 or float32 tensors ``(N,)``, and whose other values become lists.

    Raises:
        ValueError: for no samples, keys that differ, or tensors that differ in shape or dtype.
    """
    if isinstance(samples, Mapping):
        return dict(samples)
    if not samples:
        raise ValueError('collate_batch got no samples.')
    keys = list(samples[0])
    for number, sample in enumerate(samples):
        if set(sample) != set(keys):
            raise ValueError(f'Samples of one batch must have the same keys: the first has {sorted(keys)}, '
                             f'number {number} has {sorted(sample)}.')
    return {key: _stack(key, [sample[key] for sample in samples]) for key in keys}


def _stack(key: str, values: list):
    first = values[0]
    if not isinstance(first, Tensor):
        if isinstance(first, (int, float)):
            return torch.tensor(values, dtype=torch.float32 if isinstance(first, float) else torch.int64)
        return values
    for number, value in enumerate(values):
        if value.shape != first.shape:
            raise ValueError(
                f'{key!r} of one batch must have one size: the first is {tuple(first.shape)}, number {number} is '
                f"{tuple(value.shape)}. End the transforms with one size, for example dict(type='A.CenterCrop', "
                'height=224, width=224).')
        if value.dtype != first.dtype:
            raise ValueError(f'{key!r} of one batch must have one dtype: the first is {first.dtype}, '
                             f'number {number} is {value.dtype}.')
    return torch.stack(values)
