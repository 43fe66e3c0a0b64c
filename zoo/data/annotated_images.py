"""What the data sets of detection and segmentation share: samples as mmdet and mmseg want them, drawn reproducibly."""
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
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from zoo.data.dense_pipeline import DensePipeline
from zoo.data.folder import CorruptImageError
from zoo.data.global_draws import global_draws
from zoo.data.seeding import EpochSeeded
from zoo.data.subsets import subset_positions

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zipfile.BadZipFile, zlib.error,
                  Image.DecompressionBombError)
#: how often a pipeline may turn a sample down before that is an error
REFETCHES = 100


class FileSource:
    """Files below a folder, or inside a zip file with the same layout, by paths relative to it.

    An archive is opened once in each process, when first read.

    Args:
        root: folder or zip file; where there is no folder ``x`` but a file ``x.zip``, that is taken.

    Raises:
        FileNotFoundError: if it is neither.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.exists() and self.root.with_name(f'{self.root.name}.zip').is_file():
            self.root = self.root.with_name(f'{self.root.name}.zip')
        if not self.root.exists():
            raise FileNotFoundError(f'There is no folder or zip file {self.root} (seen from {Path.cwd()}); lay the data out '
                                    'there, or name its folder by the environment variable ZOO_DATA, if the config wants it.')
        self.zipped = self.root.is_file()
        if self.zipped and not zipfile.is_zipfile(self.root):
            raise FileNotFoundError(f'{self.root} is neither a folder nor a zip file.')
        self._archive: zipfile.ZipFile | None = None
        self._process: int | None = None

    def _zip(self) -> zipfile.ZipFile:
        # a handle shared across a fork would share its file position
        if self._archive is None or self._process != os.getpid():
            self._archive, self._process = zipfile.ZipFile(self.root), os.getpid()
        return self._archive

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_archive': None, '_process': None}

    def names(self, folder: str) -> list[str]:
        """The files below ``folder``, as paths relative to the root, sorted; none if there is no such folder."""
        folder = folder.strip('/')
        if self.zipped:
            prefix = f'{folder}/' if folder else ''
            return sorted(name for name in self._zip().namelist()
                          if name.startswith(prefix) and not name.endswith('/') and not name.startswith('__MACOSX/'))
        base = self.root / folder
        return sorted(Path(path, file).relative_to(self.root).as_posix()
                      for path, _, files in os.walk(base, followlinks=True) for file in files)

    def place(self, name: str) -> str:
        """How an error message calls the file."""
        return f'{name} in {self.root}' if self.zipped else str(self.root / name)

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError if the file is missing, CorruptImageError if its archive is damaged."""
        if not self.zipped:
            path = self.root / name
            if not path.is_file():
                raise FileNotFoundError(f'There is no file {path} (seen from {Path.cwd()}).')
            return path.read_bytes()
        try:
            return self._zip().read(name)
        except KeyError:
            raise FileNotFoundError(f'There is no file {self.place(name)}.') from None
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f'{self.place(name)} cannot be read ({type(error).__name__}: {error}).') from error

    def image(self, name: str, upright: bool = False) -> np.ndarray:
        """An image as ``(H, W, 3)`` uint8 RGB, as stored, or turned as its orientation tag says (``upright``).

        Raises:
            CorruptImageError: if it cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(self.read(name))) as image:
                return np.array((ImageOps.exif_transpose(image) if upright else image).convert('RGB'))
        except (CorruptImageError, FileNotFoundError):
            raise
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f'The image {self.place(name)} cannot be read ({type(error).__name__}: {error}); '
                                    "replace it, or pass on_error='skip'.") from error

    def size(self, name: str) -> tuple[int, int]:
        """``(height, width)`` from the file's header. Raises CorruptImageError."""
        try:
            with Image.open(self.root / name if not self.zipped else io.BytesIO(self.read(name))) as image:
                return image.height, image.width
        except FileNotFoundError:
            raise
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f'The image {self.place(name)} cannot be read ({type(error).__name__}: '
                                    f'{error}).') from error


class AnnotatedImages(EpochSeeded, Dataset):
    """Images with boxes, masks or label maps, run through a pipeline of mmdet's or mmseg's transforms.

    A sample is what the pipeline's last transform packs: a dict ``inputs`` ``(3, H, W)`` uint8 **BGR** (mmdet's and
    mmseg's order; their pre-processors turn it round) and ``data_samples`` (``DetDataSample`` or ``SegDataSample``). Its
    meta information holds ``sample_idx`` (position in the data set) and, with ``test_mode``, ``instances`` (ground truth
    in pixels of the original image, so that mmdet's ``CocoMetric`` needs no annotation file). All draws of a sample depend
    on ``(seed, epoch, index)`` alone.

    Subclasses give :meth:`record` and set :attr:`length` before use.

    Args:
        pipeline: transforms, see :class:`zoo.data.DensePipeline`; empty leaves the results dict as :meth:`record` makes it.
        library: whose transforms the pipeline's plain names mean: ``'mmdet'`` or ``'mmseg'``.
        class_names: K names in the order of the labels.
        palette: K colours ``(r, g, b)``; by default distinct ones.
        name: for tables.
        test_mode: samples of an evaluation.
        on_error: ``'raise'`` or ``'skip'``: take the next readable image instead, warning once of each bad file. An
            evaluation (``test_mode``) always raises: skipping would change what is measured.
        seed: of the draws.

    Attributes:
        class_names, num_classes, name; metainfo: ``classes`` and ``palette``, for mmdet's and mmseg's metrics.
    """

    def __init__(self, pipeline: Sequence, library: str, class_names: Sequence[str], palette: Sequence | None = None, *,
                 name: str, test_mode: bool = False, on_error: str = 'raise', seed: int | None = None):
        super().__init__(seed)
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
        self.class_names = [str(entry) for entry in class_names]
        self.num_classes = len(self.class_names)
        palette = distinct_colours(self.num_classes) if palette is None else [tuple(colour) for colour in palette]
        if len(palette) != self.num_classes:
            raise ValueError(f'{name}: {len(palette)} colours in the palette for {self.num_classes} classes.')
        self.palette = palette
        self.name = name
        self.test_mode = test_mode
        self.on_error = on_error
        self.pipeline = DensePipeline(pipeline, library) if pipeline else None
        self.length = 0
        self._bad: torch.Tensor | None = None

    # ---- for subclasses

    def record(self, index: int) -> dict:
        """The results dict that the pipeline starts from; subclasses fill it by :meth:`results`."""
        raise NotImplementedError

    def results(self, index: int, image: np.ndarray, *, path: str, img_id: int | None = None,
                instances: list[dict] | None = None, read_label_map=None, **more) -> dict:
        """The results dict of an image ``(H, W, 3)`` uint8 RGB, with the keys that mmcv, mmdet and mmseg expect."""
        height, width = image.shape[:2]
        results = dict(img=np.ascontiguousarray(image[:, :, ::-1]), img_path=path, img_id=index if img_id is None else img_id,
                       img_shape=(height, width), ori_shape=(height, width), height=height, width=width,
                       scale_factor=(1.0, 1.0), flip=False, flip_direction=None, sample_idx=index, **more)
        if instances is not None:
            results['instances'] = instances
        if read_label_map is not None:
            results.update(read_label_map=read_label_map, seg_fields=[], reduce_zero_label=False)
        return results

    # ---- a data set

    @property
    def metainfo(self) -> dict:
        """``classes`` (tuple of names) and ``palette``, as mmengine's evaluators want it."""
        return dict(classes=tuple(self.class_names), palette=list(self.palette))

    def full_init(self) -> None:
        """There is nothing left to do (mmengine's data set wrappers ask for it)."""

    def get_data_info(self, index: int) -> dict:
        """What is known of image ``index`` without reading it (samplers that group by shape ask for it)."""
        return self.record(index)

    def get_cat_ids(self, index: int) -> list[int]:
        """The labels of the instances of image ``index``."""
        return [instance['bbox_label'] for instance in self.record(index).get('instances', [])]

    @property
    def skipped(self) -> int:
        """How many unreadable files have been met so far, by all workers."""
        return 0 if self._bad is None else int(self._bad.sum())

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} images; there is no number {index}.')
        index %= len(self)
        generator = self.random_generator(index)
        with global_draws(generator):
            for _ in range(REFETCHES):
                results = self._readable(index)
                index = results['sample_idx']
                truth = results.get('instances')
                sample = results if self.pipeline is None else self.pipeline(results)
                if sample is not None:
                    return self._with_facts(sample, index, truth)
                if self.test_mode:
                    raise ValueError(f'{self.name}: the pipeline gives nothing for image {index}, which an evaluation needs.')
                index = int(generator.integers(len(self)))
        raise ValueError(f'{self.name}: the pipeline turned {REFETCHES} images down in a row; loosen its transforms.')

    def _with_facts(self, sample: dict, index: int, truth: list | None) -> dict:
        facts = sample.get('data_samples') if isinstance(sample, Mapping) else None
        if facts is not None and hasattr(facts, 'set_metainfo'):
            facts.set_metainfo(dict(sample_idx=index))
            if self.test_mode and truth is not None:
                facts.set_metainfo(dict(instances=truth))
        return sample

    def _readable(self, index: int) -> dict:
        if self.on_error == 'raise' or self.test_mode:
            return self.record(index)
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if self._bad[candidate]:
                continue
            try:
                return self.record(candidate)
            except CorruptImageError as error:
                self._bad[candidate] = True
                warnings.warn(f'Skipped: {error}', stacklevel=2)
        raise CorruptImageError(f'None of the {len(self)} images of {self.name} can be read.')

    def _set_length(self, length: int) -> None:
        if length == 0:
            raise ValueError(f'{self.name} has no images.')
        self.length = length
        # shared by all workers, so that a bad file is tried, counted and warned of once
        self._bad = torch.zeros(length, dtype=torch.bool).share_memory_()

    @staticmethod
    def _subset(items: list, subset: int | float | None, seed: int) -> list:
        kept = subset_positions(None, len(items), subset, seed)
        return items if kept is None else [items[k] for k in kept.tolist()]

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.name}, {len(self)} images, {self.num_classes} classes)'


def distinct_colours(number: int) -> list[tuple[int, int, int]]:
    """``number`` colours ``(r, g, b)`` of 0..255 that differ well: hues by the golden ratio, brightness in three steps."""
    import colorsys
    colours = []
    for k in range(number):
        rgb = colorsys.hsv_to_rgb(k * 0.618034 % 1, (0.85, 0.6, 1.0)[k % 3], (1.0, 0.85, 0.65)[k // 2 % 3])
        colours.append(tuple(round(255 * value) for value in rgb))
    return colours
