"""Noise in place of images, for methods that need no data."""
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.seeding import EpochSeeded
from zoo.registry import DATASETS


@DATASETS.register_module()
class NoiseDataset(EpochSeeded):
    """Standard normal noise with a condition: what a data-free diffusion student is trained on.

    A sample's noise depends on ``(seed, epoch, index)`` alone. Where there are classes, labels go round: index modulo K. Where
    there are prompts, sample i has embedding ``i`` modulo their number.

    Args:
        length: samples an epoch.
        shape: ``(C, H, W)`` of the noise.
        num_classes: K, or None for no labels.
        prompts: a ``.safetensors`` file of :func:`zoo.models.diffusers_model.embed_prompts` with ``embeddings`` ``(P, L, D)``
            and ``empty`` ``(L, D)``, of which the latter is what guidance leads away from.
        seed: of the noise.
        name: for tables.

    Raises:
        FileNotFoundError, ValueError: for a bad file or length.
    """

    def __init__(self, length: int, shape: Sequence[int], num_classes: int | None = None,
                 prompts: str | Path | None = None, seed: int | None = None, name: str = 'noise'):
        super().__init__(seed)
        if length < 1:
            raise ValueError(f'NoiseDataset needs length >= 1, got {length}.')
        self.length, self.shape, self.num_classes, self.name = length, tuple(shape), num_classes, name
        self.embeddings = self.empty = None
        if prompts is not None:
            self.embeddings, self.empty = read_prompt_embeddings(prompts)
        self.labels = None if num_classes is None else torch.arange(length) % num_classes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not -self.length <= int(index) < self.length:
            raise IndexError(f'{self.name} has {self.length} samples; there is no number {index}.')
        return {key: value[0] for key, value in self.__getitems__([int(index) % self.length]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """``noise`` ``(N, C, H, W)`` float32, ``indices``, and ``labels`` ``(N,)`` or ``condition`` and ``null_condition``
        ``(N, L, D)``."""
        drawn = [torch.from_numpy(self.random_generator(index).standard_normal(self.shape, dtype='float32'))
                 for index in indices]
        indices = torch.as_tensor(indices, dtype=torch.int64)
        batch = {'noise': torch.stack(drawn), 'indices': indices}
        if self.labels is not None:
            batch['labels'] = self.labels[indices]
        if self.embeddings is not None:
            batch['condition'] = self.embeddings[indices % len(self.embeddings)]
            batch['null_condition'] = self.empty.expand_as(batch['condition']).clone()
        return batch


def read_prompt_embeddings(path: str | Path) -> tuple[Tensor, Tensor]:
    """``embeddings (P, L, D)`` and ``empty (L, D)`` of a prompt file, float32.

    Raises:
        FileNotFoundError, ValueError: if it is missing or lacks one of them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no file of prompt embeddings {path}: make it with python tools/embed_prompts.py '
                                'PIPELINE PROMPTS.txt OUT.safetensors.')
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path} is not a safetensors file ({error}).') from None
    missing = [name for name in ('embeddings', 'empty') if name not in tensors]
    if missing:
        raise ValueError(f'{path} lacks {" and ".join(missing)}; it has {", ".join(tensors)}.')
    embeddings, empty = tensors['embeddings'].float(), tensors['empty'].float()
    if embeddings.ndim != 3 or not len(embeddings) or empty.shape != embeddings.shape[1:]:
        raise ValueError(f'{path}: embeddings must be (P, L, D) and empty (L, D), got {tuple(embeddings.shape)} and '
                         f'{tuple(empty.shape)}.')
    return embeddings, empty
