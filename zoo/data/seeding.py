"""Random numbers of one image that depend on (seed, epoch, index, view) alone, so that a run can be resumed exactly."""
import zlib

import numpy as np
import torch


class EpochSeeded:
    """Part of a data set with per-image randomness: a seed, and an epoch that living workers see change.

    The draws for an image depend on nothing but ``(seed, epoch, index, view)``: not on the number of workers, the order
    of the images or the state of any global generator. The training loop calls :meth:`set_epoch` before each epoch;
    a loop that never does so repeats the same draws.

    Args:
        seed: a non-negative integer; two runs with the same seed see the same images. None: the run's own
            (:attr:`run_seed`, which the training loop sets), so that runs of several seeds differ in their images too.

    Raises:
        ValueError: for a negative seed.
    """

    run_seed: int = 0

    def __init__(self, seed: int | None = None):
        if seed is not None and (isinstance(seed, bool) or int(seed) != seed or seed < 0):
            raise ValueError(f'seed must be an integer >= 0, got {seed!r}.')
        self._seed = None if seed is None else int(seed)
        # shared memory: persistent workers hold a copy of the data set that was made before later epochs began
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def seed(self) -> int:
        """The seed in force: the data set's, or else the run's."""
        return self.run_seed if self._seed is None else self._seed

    @property
    def epoch(self) -> int:
        """The epoch that the per-image draws belong to, from 0."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (>= 0) of all draws from now on, in this process and in the workers that it started."""
        if epoch < 0:
            raise ValueError(f'epoch must be >= 0, got {epoch}.')
        self._epoch.fill_(int(epoch))

    def random_generator(self, index: int, view: str = '') -> np.random.Generator:
        """The generator of one view of image ``index`` in the present epoch; ``''`` is the first view."""
        return np.random.default_rng([self.seed, self.epoch, int(index), zlib.crc32(view.encode())])
