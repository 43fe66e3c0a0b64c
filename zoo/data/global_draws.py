"""Transforms that draw from Python's, NumPy's and torch's global generators, made to depend on one generator alone."""
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_draws(generator: np.random.Generator) -> Iterator[None]:
    """Within this context the global CPU generators are seeded from ``generator``; afterwards they are as they were.

    The transforms of mmcv, mmdet and mmseg draw from the global generators of Python and NumPy. Seeded so for each
    image (see :class:`zoo.data.EpochSeeded`), they depend neither on the order of the images nor on the number of
    workers, and a run can be resumed exactly. Generators of other devices are left alone.

    Args:
        generator: where three seeds are drawn from.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = generator.integers(2**32, size=3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(seeds[2])  # torch.manual_seed would reseed the GPUs as well
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
