"""A teacher that wants another size or other statistics than the student."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InputAdapter(nn.Module):
    """Turn images made for the student into images made for another network, on the device.

    Args:
        student_mean, student_std: of the student's normalisation, for pixels in 0..1; None where it has none.
        mean, std: of the other network's.
        size: ``(height, width)`` that it wants, or None for the student's; resized bicubically, with antialiasing where it
            shrinks.
    """

    def __init__(self, student_mean: Sequence[float] | None, student_std: Sequence[float] | None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
                 size: tuple[int, int] | None = None):
        super().__init__()
        own_mean, own_std = _column(student_mean, 0.0), _column(student_std, 1.0)
        mean = own_mean if mean is None else _column(mean, 0.0)
        std = own_std if std is None else _column(std, 1.0)
        self.register_buffer('scale', own_std / std, persistent=False)
        self.register_buffer('shift', (own_mean - mean) / std, persistent=False)
        self.size = tuple(size) if size is not None else None
        self.changes_values = bool((self.scale != 1).any() or (self.shift != 0).any())

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` normalised for the student, to ``(N, C, *size)`` normalised for the other network."""
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, self.size, mode='bicubic', antialias=True, align_corners=False)
        return images * self.scale + self.shift if self.changes_values else images

    def describe(self, name: str) -> str:
        """One sentence on what is done for ``name``."""
        deeds = [f'resized to {self.size[0]}x{self.size[1]}'] if self.size is not None else []
        deeds += ['renormalised to its own mean and std'] if self.changes_values else []
        return f'{name}: its images are {" and ".join(deeds)}.' if deeds else ''


def _column(values: Sequence[float] | None, default: float) -> Tensor:
    values = torch.tensor([default]) if values is None else torch.as_tensor(values, dtype=torch.float32).flatten()
    return values.view(1, -1, 1, 1)


def input_adapter(network: nn.Module, wanted: dict | str | None, preprocessor: nn.Module,
                  input_shape: tuple[int, int, int]) -> InputAdapter | None:
    """The adapter for a network's wishes, or None where it takes the student's images as they are.

    Args:
        wanted: ``dict(mean=..., std=..., size=...)``, any of them; ``'own'`` for what the network itself states
            (``mean``, ``std``, ``input_size``, as timm's and torchvision's do); None.

    Raises:
        ValueError: for ``'own'`` where the network states nothing.
    """
    if wanted is None:
        return None
    if wanted == 'own':
        wanted = {key: getattr(network, key, None) for key in ('mean', 'std')}
        size = getattr(network, 'input_size', None)
        wanted['size'] = None if size is None else tuple(size)[-2:]
        if all(value is None for value in wanted.values()):
            raise ValueError(f"{type(network).__name__} states no mean, std or input_size: give input=dict(mean=..., std=...).")
    size = wanted.get('size')
    size = (size, size) if isinstance(size, int) else size
    if size is not None and tuple(size) == tuple(input_shape[1:]):
        size = None
    adapter = InputAdapter(getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None),
                           wanted.get('mean'), wanted.get('std'), size)
    return adapter if adapter.size is not None or adapter.changes_values else None
