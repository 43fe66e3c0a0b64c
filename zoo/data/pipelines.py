"""Transforms of single images: albumentations by config, and the zoo's own, from one generator per image."""
import importlib
import inspect
import os
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch_augment import BatchTransform
from zoo.registry import TRANSFORMS, UnknownNameError, unknown


class ImagePipeline:
    """A list of transforms of one image: ``pipeline(image, rng) -> image``.

    Entries are configs or objects: ``dict(type='A.HorizontalFlip', p=0.5)`` (any albumentations transform, nested ones
    too; neighbours share one ``A.Compose``), names of TRANSFORMS, batched transforms (run on a batch of one), or any
    callable ``f(image, rng)``. All randomness comes from ``rng``.

    Args:
        transforms: the entries, in order; empty gives a pipeline that is false in a condition and returns its input.

    Raises:
        UnknownNameError: for a name that neither albumentations nor TRANSFORMS knows, with near names.
        ValueError: for arguments that a transform does not take.
    """

    def __init__(self, transforms: Sequence = ()):
        if isinstance(transforms, (Mapping, str)):
            raise ValueError('transforms must be a list; put the single transform in a list.')
        self.steps: list[Callable] = []
        group: list = []
        for entry in [*transforms, None]:
            if _is_albumentations(entry):
                group.append(entry)
                continue
            if group:
                self.steps.append(Albumentations(group))
                group = []
            if isinstance(entry, Mapping):
                self.steps.append(TRANSFORMS.build(dict(entry)))
            elif entry is not None:
                self.steps.append(entry)

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray | Tensor:
        """``image`` ``(H, W, C)`` uint8 to ``(H', W', C)`` (or a tensor ``(C, H', W')`` from the last step)."""
        for step in self.steps:
            image = _on_single(step, image, rng) if isinstance(step, BatchTransform) else step(image, rng)
        return image


def build_views(views: Mapping[str, Sequence] | None) -> dict[str, ImagePipeline]:
    """``{'strong': [...]}`` to pipelines; the key of a batch will be ``images_strong``."""
    if views is not None and not isinstance(views, Mapping):
        raise ValueError("views must be a dict from a view's name to its transforms, such as dict(strong=[...]).")
    return {name: ImagePipeline(transforms) for name, transforms in (views or {}).items()}


def to_channels_first(image: np.ndarray | Tensor) -> Tensor:
    """``(H, W)`` or ``(H, W, C)`` array to a ``(C, H, W)`` tensor of its own memory; tensors pass."""
    if isinstance(image, Tensor):
        return image
    if image.ndim == 2:
        image = image[:, :, None]
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order='C'))


def _on_single(step: BatchTransform, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    batch = step(to_channels_first(image)[None], generator=generator)
    return np.ascontiguousarray(batch[0].permute(1, 2, 0).numpy())


@TRANSFORMS.register_module()
class Albumentations:
    """A list of albumentations transforms in one ``A.Compose``, drawing from the given generator only.

    ``A.Compose`` alone would seed each of its transforms alike, so that their draws go together; here all draw in turn
    from one stream.

    Args:
        transforms: ``dict(type='A.Name', **arguments)`` (``'A.'`` may be left out here) or albumentations objects.

    Raises:
        UnknownNameError: for an unknown transform, with near names.
        ValueError: for arguments that albumentations would only warn about, or refuses.
    """

    def __init__(self, transforms: Sequence):
        self.compose = _albumentations().Compose([_build_albumentations(entry) for entry in transforms])

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray | Tensor:
        """``image`` ``(H, W, C)`` uint8 or float32 to the transformed image."""
        self.compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        return self.compose(image=np.ascontiguousarray(image))['image']


@TRANSFORMS.register_module()
class ResizeShorterSide:
    """Resize so that the shorter side is ``size``, with Pillow's antialiased filters, as torchvision's ``Resize`` does.

    Published ImageNet weights were evaluated so; OpenCV's plain bilinear (``A.Resize``) aliases when it shrinks.

    Args:
        size: in pixels; the longer side is ``int(size * longer / shorter)``.
        interpolation: ``'bilinear'`` or ``'bicubic'``.
    """

    def __init__(self, size: int, interpolation: str = 'bilinear'):
        if interpolation not in ('bilinear', 'bicubic'):
            raise ValueError(f"interpolation must be 'bilinear' or 'bicubic', got {interpolation!r}.")
        self.size = size
        self.interpolation = interpolation

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """``(H, W, 3)`` uint8 to ``(H', W', 3)`` uint8."""
        from PIL import Image

        height, width = image.shape[:2]
        if height <= width:
            new = (int(self.size * width / height), self.size)
        else:
            new = (self.size, int(self.size * height / width))
        return np.asarray(Image.fromarray(image).resize(new, getattr(Image.Resampling, self.interpolation.upper())))


def _albumentations():
    # else its import asks the network whether there is a newer version
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
    return importlib.import_module('albumentations')


def _is_albumentations(entry) -> bool:
    if isinstance(entry, Mapping):
        kind = entry.get('type')
        if kind is None:
            raise ValueError(f"A transform needs a type, for example dict(type='A.HorizontalFlip'), got {dict(entry)}.")
        return isinstance(kind, str) and kind.startswith('A.')
    return type(entry).__module__.startswith('albumentations')


def _build_albumentations(entry):
    if not isinstance(entry, Mapping):
        return entry
    library = _albumentations()
    arguments = dict(entry)
    name = arguments.pop('type').removeprefix('A.')
    kinds = (library.BasicTransform, library.BaseCompose)
    kind = getattr(library, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, kinds)):
        known = [key for key, value in vars(library).items() if inspect.isclass(value) and issubclass(value, kinds)]
        raise UnknownNameError(unknown('albumentations transform', name, known))
    known = [key for key in inspect.signature(kind.__init__).parameters if key != 'self']
    for key in arguments:
        if key not in known:
            raise ValueError(f'A.{name}: ' + unknown('argument', key, known))
    try:
        return kind(**{key: _nested(value) for key, value in arguments.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f'A.{name} cannot be built: {error}') from error


def _nested(value):
    if isinstance(value, Mapping) and str(value.get('type', '')).startswith('A.'):
        return _build_albumentations(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_nested(item) for item in value)
    return value
