"""Class folders of image files, on disk or inside a zip archive."""
import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.pipelines import ImagePipeline, build_views, to_channels_first
from zoo.data.seeding import EpochSeeded
from zoo.data.subsets import subset_positions
from zoo.registry import DATASETS

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.tif', '.tiff')
# what Pillow, zipfile and zlib raise on damaged files
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zipfile.BadZipFile, zlib.error,
                  Image.DecompressionBombError)


class CorruptImageError(OSError):
    """An image file that cannot be read; the message names it."""


@DATASETS.register_module()
class ImageFolder(EpochSeeded, Dataset):
    """Images in ``root/[split/]<class>/**``, where ``root`` is a folder or a ``.zip`` with that layout (ImageNet's
    too).

    A sample is a dict ``images`` ``(3, H, W)`` (uint8, or what the transforms make), ``labels`` ``()`` int64 (absent if
    unlabelled), ``indices`` ``()`` int64 and ``images_<view>``. Classes are the folders' names in sorted order. An
    archive is opened once in each process, when first read, so the data set can be forked and pickled.

    Args:
        root: folder or zip file.
        split: folder below ``root``, such as ``'train'``; ``'a/b'`` is allowed.
        transforms: per-image pipeline, see :class:`zoo.data.ImagePipeline`; it must end in one size for batches.
        on_error: ``'raise'`` (default) or ``'skip'``: take the next readable image instead, with its own label and
            index; each bad file is warned of once, and :attr:`skipped` counts them.
        views: further views by name, see :class:`zoo.data.ArrayDataset`.
        name: for tables; the root's name if not given.
        subset, subset_seed, labelled, seed: see :class:`zoo.data.ArrayDataset`.

    Attributes:
        labels: ``(N,)`` int64, or None.
        files: N paths below ``root`` (of members, in an archive).
        class_names, num_classes, name.

    Raises:
        FileNotFoundError: where the root, the split, class folders or images are missing.
        CorruptImageError: on reading a damaged image.
    """

    def __init__(self, root: str | Path, split: str | None = None, transforms: Sequence = (),
                 on_error: str = 'raise', *, views: Mapping[str, Sequence] | None = None, name: str | None = None,
                 subset: int | float | None = None, subset_seed: int = 0, labelled: bool = True, seed: int | None = None):
        super().__init__(seed)
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
        self.root = Path(root)
        self.split = split
        self.on_error = on_error
        self._archive: zipfile.ZipFile | None = None
        self._archive_process: int | None = None
        self._zipped = self.root.is_file()
        if not self.root.exists():
            raise FileNotFoundError(f'There is no folder or zip file {self.root} (seen from {Path.cwd()}).')
        if self._zipped and not zipfile.is_zipfile(self.root):
            raise FileNotFoundError(f'{self.root} is neither a folder nor a zip file.')
        where = f'{self.root}/{split}' if split else str(self.root)
        prefix = f'{split.strip("/")}/' if split else ''
        files, classes = self._list_zip(prefix) if self._zipped else self._list_folder(prefix)
        if not classes:
            raise FileNotFoundError(f'There are no class folders in {where}; expected {where}/<class>/<image>.')
        if not files:
            raise FileNotFoundError(f'There are no images ({", ".join(EXTENSIONS)}) in the class folders of {where}.')
        number = {entry: k for k, entry in enumerate(classes)}
        labels = torch.tensor([number[entry] for entry, _ in files], dtype=torch.int64)
        kept = subset_positions(labels, len(files), subset, subset_seed)
        if kept is not None:
            files = [files[k] for k in kept.tolist()]
            labels = labels[kept]
        self.files = [path for _, path in files]
        self._labels = labels
        self.labels = labels if labelled else None
        self.class_names = classes
        self.num_classes = len(classes)
        self.name = self.root.stem if name is None else name
        self.pipeline = ImagePipeline(transforms)
        self.views = build_views(views)
        # shared by all workers, so that a bad file is tried, counted and warned of once
        self._bad = torch.zeros(len(self.files), dtype=torch.bool).share_memory_()

    @property
    def skipped(self) -> int:
        """How many unreadable files have been met so far, by all workers."""
        return int(self._bad.sum())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} images; there is no number {index}.')
        index, image = self._readable(index % len(self))
        sample = {'images': to_channels_first(self.pipeline(image, self.random_generator(index)))}
        for view, pipeline in self.views.items():
            sample[f'images_{view}'] = to_channels_first(pipeline(image, self.random_generator(index, view)))
        if self.labels is not None:
            sample['labels'] = self.labels[index]
        sample['indices'] = torch.tensor(index)
        return sample

    def read(self, index: int) -> np.ndarray:
        """Image ``index`` as stored, ``(H, W, 3)`` uint8 RGB; raises :class:`CorruptImageError`."""
        try:
            if self._zipped:
                # whole, so that zipfile checks the sum
                source = io.BytesIO(self._zip().read(self.files[index]))
            else:
                source = self.root / self.files[index]
            with Image.open(source) as image:
                return np.array(image.convert('RGB'))
        except _DECODE_ERRORS as error:
            place = f'{self.files[index]} in {self.root}' if self._zipped else str(self.root / self.files[index])
            raise CorruptImageError(f"The image {place} cannot be read ({type(error).__name__}: {error}); replace it, "
                                    "or pass on_error='skip'.") from error

    def _readable(self, index: int) -> tuple[int, np.ndarray]:
        if self.on_error == 'raise':
            return index, self.read(index)
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if self._bad[candidate]:
                continue
            try:
                return candidate, self.read(candidate)
            except CorruptImageError as error:
                self._bad[candidate] = True
                warnings.warn(f'Skipped: {error}', stacklevel=2)
        raise CorruptImageError(f'None of the {len(self)} images of {self.root} can be read.')

    def _zip(self) -> zipfile.ZipFile:
        # a handle shared across a fork would share its file position
        if self._archive is None or self._archive_process != os.getpid():
            self._archive = zipfile.ZipFile(self.root)
            self._archive_process = os.getpid()
        return self._archive

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_archive': None, '_archive_process': None}

    def _list_folder(self, prefix: str) -> tuple[list[tuple[str, str]], list[str]]:
        base = self.root / prefix
        if not base.is_dir():
            raise FileNotFoundError(f'{self.root} has no folder {prefix.rstrip("/")!r}; it has '
                                    f'{_listed(entry.name for entry in self.root.iterdir() if entry.is_dir())}.')
        classes = sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith('.'))
        files = []
        for entry in classes:
            found = [os.path.join(folder, file) for folder, _, names in os.walk(base / entry, followlinks=True)
                     for file in names if _is_image(file)]
            files += [(entry, Path(path).relative_to(self.root).as_posix()) for path in sorted(found)]
        return files, classes

    def _list_zip(self, prefix: str) -> tuple[list[tuple[str, str]], list[str]]:
        names = [name for name in sorted(self._zip().namelist()) if not name.startswith('__MACOSX/')]
        below = [name for name in names if name.startswith(prefix)]
        if prefix and not below:
            raise FileNotFoundError(f'{self.root} has no folder {prefix.rstrip("/")!r}; it has '
                                    f'{_listed({name.split("/")[0] for name in names if "/" in name})}.')
        parts = [(name, name[len(prefix):].split('/')) for name in below]
        parts = [(name, rest) for name, rest in parts if len(rest) > 1 and not rest[0].startswith('.')]
        classes = sorted({rest[0] for _, rest in parts})
        return sorted((rest[0], name) for name, rest in parts if _is_image(rest[-1])), classes

    def __repr__(self) -> str:
        return f'ImageFolder({self.name}, {len(self)} images, {self.num_classes} classes, root={self.root})'


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith('.')


def _listed(names) -> str:
    names = sorted(names)
    return (', '.join(names[:10]) + (' ...' if len(names) > 10 else '')) or 'none'
