"""Data sets that lie in memory as one uint8 array, from which a whole batch is one gather."""
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.pipelines import ImagePipeline, build_views, to_channels_first
from zoo.data.seeding import EpochSeeded
from zoo.data.subsets import subset_positions
from zoo.registry import DATASETS


@DATASETS.register_module()
class ArrayDataset(EpochSeeded, Dataset):
    """Images and labels in memory.

    A sample is a dict ``images`` ``(C, H, W)`` uint8, ``labels`` ``()`` int64 (absent if unlabelled), ``indices``
    ``()`` int64, and ``images_<view>`` for each of ``views``. ``__getitems__`` gives a list of positions as one batch,
    so that torch's loader needs no collation; without ``transforms`` and ``views`` that is one gather.

    Args:
        images: uint8 ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with C of 1 or 3; array or tensor.
        labels: ``(N,)`` integers, or None.
        class_names: K names; without them, the numbers ``0 .. max(labels)``.
        name: of the data set, for tables.
        channels: 3 repeats a grey image; 1 takes grey images only; None leaves them.
        pad: black pixels added on each side.
        size: side in pixels after padding, by antialiased bilinear interpolation (``interpolation`` may be
            ``'nearest'``); None leaves the size.
        subset, subset_seed: see :func:`zoo.data.subset_positions`; stratified by the labels.
        labelled: False drops the labels (after the subset was chosen).
        transforms: per-image pipeline of ``images`` (see :class:`zoo.data.ImagePipeline`); empty leaves them for the
            batched augmentation of :class:`zoo.data.BatchPreprocessor`.
        views: further views, ``{'strong': [...]}``; each pipeline starts from the stored image, and an empty one gives
            the stored image again.
        seed: of the per-image draws, see :class:`zoo.data.EpochSeeded`.

    Attributes:
        images: ``(N, C, H, W)`` uint8, contiguous.
        labels: ``(N,)`` int64, or None.
        class_names, num_classes, name: as given.

    Raises:
        ValueError: where arrays do not fit each other or the options.
    """

    def __init__(self, images, labels=None, class_names: Sequence[str] | None = None, *, name: str = 'array',
                 channels: int | None = None, pad: int = 0, size: int | None = None, interpolation: str = 'bilinear',
                 subset: int | float | None = None, subset_seed: int = 0, labelled: bool = True,
                 transforms: Sequence = (), views: Mapping[str, Sequence] | None = None, seed: int | None = None):
        super().__init__(seed)
        images = _channels_first(images)
        labels = None if labels is None else torch.as_tensor(np.asarray(labels)).to(torch.int64)
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f'{name}: {len(images)} images but labels of shape {tuple(labels.shape)}.')
        if class_names is None:
            class_names = [] if labels is None or not len(labels) else [str(k) for k in range(int(labels.max()) + 1)]
        class_names = [str(entry) for entry in class_names]
        if labels is not None and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_names):
            raise ValueError(f'{name}: labels {int(labels.min())} .. {int(labels.max())} do not fit '
                             f'{len(class_names)} class names.')
        kept = subset_positions(labels, len(images), subset, subset_seed)
        if kept is not None:
            images = images[kept]
            labels = None if labels is None else labels[kept]
        self.images = _resized(_with_channels(images, channels, name), pad, size, interpolation)
        self.labels = labels if labelled else None
        self.class_names = class_names
        self.num_classes = len(class_names)
        self.name = name
        self.pipeline = ImagePipeline(transforms)
        self.views = build_views(views)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} images; there is no number {index}.')
        return {key: value[0] for key, value in self.__getitems__([index % len(self)]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The batch at ``indices``: ``images`` ``(N, C, H, W)``, ``labels`` and ``indices`` ``(N,)``, and views."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        stored = self.images.index_select(0, indices)
        batch = {'images': self._transformed(stored, indices, self.pipeline, '')}
        for view, pipeline in self.views.items():
            batch[f'images_{view}'] = self._transformed(stored, indices, pipeline, view)
        if self.labels is not None:
            batch['labels'] = self.labels.index_select(0, indices)
        batch['indices'] = indices
        return batch

    def _transformed(self, stored: Tensor, indices: Tensor, pipeline: ImagePipeline, view: str) -> Tensor:
        if not pipeline:
            return stored
        arrays = stored.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.stack([to_channels_first(pipeline(image, self.random_generator(index, view)))
                            for image, index in zip(arrays, indices.tolist())])

    def __repr__(self) -> str:
        size = 'x'.join(map(str, self.images.shape[1:]))
        return f'{type(self).__name__}({self.name}, {len(self)} images {size}, {self.num_classes} classes)'


@DATASETS.register_module()
class Digits(ArrayDataset):
    """scikit-learn's handwritten digits: 1,797 real scans, 8x8, 17 grey levels, 10 classes; needs no download.

    The data set has no split of its own. Here: 1,437 train and 360 test images, stratified, always the same, by
    ``sklearn.model_selection.train_test_split(test_size=360, stratify=labels, random_state=0)``. Writers may occur on
    both sides, so the test is easier than one on new writers. Source: ``sklearn.datasets.load_digits`` (test part of
    the UCI "Optical Recognition of Handwritten Digits", Alpaydin and Kaynak, 1998).

    Args:
        train: which side of the split.
        size: side in pixels after interpolation (``'bilinear'`` or ``'nearest'``).
        channels: 3 (repeated) or 1.
        **options: of :class:`ArrayDataset`.
    """

    def __init__(self, train: bool = True, size: int = 16, channels: int = 3, **options):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        sides = train_test_split(np.arange(len(digits.target)), test_size=360, stratify=digits.target, random_state=0)
        chosen = np.sort(sides[0] if train else sides[1])
        images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        options.setdefault('name', 'digits')
        super().__init__(images, digits.target[chosen], [str(k) for k in range(10)], size=size, channels=channels,
                         **options)


@DATASETS.register_module()
class NpzDataset(ArrayDataset):
    """One ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test`` and ``class_names``.

    Args:
        path: of the file; images uint8 ``(N, H, W)`` or ``(N, H, W, C)``, labels integers.
        train: which split.
        name: for tables; the file's name without ``.npz`` if not given.
        **options: of :class:`ArrayDataset`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no such archive or lacks an array.
    """

    def __init__(self, path: str | Path, train: bool = True, *, name: str | None = None, **options):
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'There is no data file {path} (seen from {Path.cwd()}); lay the data out there, '
                                    'or name its folder by the environment variable ZOO_DATA, if a config wants it.')
        split = 'train' if train else 'test'
        try:
            with np.load(path, allow_pickle=False) as archive:
                names = archive.files
                arrays = {key: archive[key] for key in (f'x_{split}', f'y_{split}', 'class_names') if key in names}
        except (OSError, EOFError, AttributeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f'{path} cannot be read as .npz: {error}.') from error
        missing = [key for key in (f'x_{split}', f'y_{split}') if key not in arrays]
        if missing:
            raise ValueError(f'{path} lacks {" and ".join(missing)}; it has {", ".join(names)}.')
        images, labels = arrays[f'x_{split}'], arrays[f'y_{split}']
        class_names = arrays['class_names'].tolist() if 'class_names' in arrays else None
        super().__init__(images, labels, class_names, name=path.stem if name is None else name, **options)


class _TorchvisionCIFAR(ArrayDataset):
    torchvision_name: str
    table_name: str

    def __init__(self, root: str | Path = 'data', train: bool = True, download: bool = False, **options):
        from torchvision import datasets

        try:
            source = getattr(datasets, self.torchvision_name)(str(root), train=train, download=download)
        except RuntimeError as error:
            raise FileNotFoundError(f'{self.table_name} is not (whole) under {Path(root).resolve()}: pass '
                                    'download=True, or unpack the official Python archive there.') from error
        options.setdefault('name', self.table_name)
        super().__init__(source.data, source.targets, source.classes, **options)


@DATASETS.register_module()
class CIFAR10(_TorchvisionCIFAR):
    """CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 images 32x32, 10 classes, by torchvision, which checks the files.

    Args:
        root: folder that holds (or shall hold) ``cifar-10-batches-py``.
        train: which split.
        download: fetch it from the author's site if it is not there.
        **options: of :class:`ArrayDataset`.

    Raises:
        FileNotFoundError: where the files are missing or damaged and ``download`` is False.
    """

    torchvision_name = 'CIFAR10'
    table_name = 'CIFAR-10'


@DATASETS.register_module()
class CIFAR100(_TorchvisionCIFAR):
    """CIFAR-100 (Krizhevsky, 2009): as :class:`CIFAR10`, with 100 fine classes, in ``cifar-100-python``."""

    torchvision_name = 'CIFAR100'
    table_name = 'CIFAR-100'


def _channels_first(images) -> Tensor:
    images = torch.as_tensor(images)
    if images.dtype != torch.uint8:
        raise ValueError(f'Images must be uint8 (0..255), got {images.dtype}.')
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images.contiguous()
    raise ValueError(f'Images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3, got '
                     f'{tuple(images.shape)}.')


def _with_channels(images: Tensor, channels: int | None, name: str) -> Tensor:
    if channels is None or images.shape[1] == channels:
        return images
    if images.shape[1] == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    raise ValueError(f'{name} has {images.shape[1]} channels, which cannot become {channels}; leave channels out, or '
                     'use 3 for grey images.')


def _resized(images: Tensor, pad: int, size: int | None, interpolation: str) -> Tensor:
    if interpolation not in ('bilinear', 'nearest'):
        raise ValueError(f"interpolation must be 'bilinear' or 'nearest', got {interpolation!r}.")
    if pad:
        images = F.pad(images, (pad,) * 4)
    if size is None or images.shape[2:] == (size, size):
        return images
    smooth = {'mode': 'bilinear', 'antialias': True} if interpolation == 'bilinear' else {'mode': 'nearest-exact'}
    # in pieces: the float copy of a whole set would take four times its size
    pieces = [F.interpolate(piece.float(), size=(size, size), **smooth).round_().clamp_(0, 255).to(torch.uint8)
              for piece in images.split(4096)]
    return torch.cat(pieces) if pieces else images.new_empty(0, images.shape[1], size, size)
