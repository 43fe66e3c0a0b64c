"""Images and label PNGs, in a folder or a zip file."""
import io
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from zoo.data.annotated_images import _DECODE_ERRORS, AnnotatedImages, FileSource
from zoo.data.dense_transforms import check_label_map
from zoo.data.detection_files import split_lines
from zoo.data.folder import EXTENSIONS, CorruptImageError
from zoo.registry import DATASETS

#: label maps whose values are all checked before training; of larger sets the sizes only, the values as they are read
CHECKED = 1000


@DATASETS.register_module()
class SegmentationFolder(AnnotatedImages):
    """Pairs of an image and a label map (PNG with one channel of class numbers, or a palette), as mmseg's pipelines want.

    Pairs come from a list (in each line ``image label``, relative to the list's folder, or a name that both files share), or
    else all images of the folder ``images`` with the label map of the same name in ``labels``.

    Before anything is trained, sizes of all pairs are compared, and the values of up to 1,000 label maps looked at.

    Args:
        root: folder or zip file.
        class_names: K names in the order of the labels.
        images, labels: folders below ``root``.
        split_list: text file below ``root``; None takes all images.
        palette: K colours ``(r, g, b)``.
        ignore_index: what ignored pixels become.
        ignore_values: values of the files that are ignored, such as void's; ``ignore_index`` itself always is.
        reduce_zero_label: 0 is ignored and 1 becomes class 0, as in ADE20K.
        check: ``'all'``, ``'sizes'`` or ``'none'``; None: ``'all'`` for up to 1,000 pairs, else ``'sizes'``.
        subset, subset_seed: see :func:`zoo.data.subset_positions`.
        on_error: ``'skip'`` leaves missing and unreadable images out, with a warning.
        pipeline, name, test_mode, seed: see :class:`zoo.data.AnnotatedImages`.

    Raises:
        FileNotFoundError: for a missing root, list, folder, image or label map.
        CorruptImageError: for a file that cannot be read.
        ValueError: for values outside the classes and for sizes that differ, naming the file.
    """

    def __init__(self, root: str | Path, class_names: Sequence[str], images: str = 'images', labels: str = 'labels',
                 split_list: str | None = None, pipeline: Sequence = (), *, palette: Sequence | None = None,
                 ignore_index: int = 255, ignore_values: Sequence[int] = (), reduce_zero_label: bool = False,
                 check: str | None = None, subset: int | float | None = None, subset_seed: int = 0, on_error: str = 'raise',
                 name: str | None = None, test_mode: bool = False, seed: int | None = None):
        if check not in (None, 'all', 'sizes', 'none'):
            raise ValueError(f"check must be 'all', 'sizes' or 'none', got {check!r}.")
        source = FileSource(root)
        super().__init__(pipeline, 'mmseg', class_names, palette, name=source.root.stem if name is None else name,
                         test_mode=test_mode, on_error=on_error, seed=seed)
        self.source = source
        self.ignore_index = ignore_index
        self._table = self._lookup(ignore_values, reduce_zero_label)
        self._plain = bool((self._table == np.arange(256)).all())
        self.reduce_zero_label = reduce_zero_label
        pairs = self._pairs(images, labels, split_list, skip=on_error == 'skip' and not test_mode)
        self.pairs = self._subset(pairs, subset, subset_seed)
        self._set_length(len(self.pairs))
        self._check(check or ('all' if len(self) <= CHECKED else 'sizes'))

    def record(self, index: int) -> dict:
        file, label = self.pairs[index]
        image = self.source.image(file)
        label_map = self.label_map(index, image.shape[:2])  # now, so that a damaged one can be skipped with its image
        return self.results(index, image, path=str(self.source.root / file), seg_map_path=str(self.source.root / label),
                            read_label_map=label_map.copy)

    def label_map(self, index: int, image_size: tuple[int, int] | None = None) -> np.ndarray:
        """Label map ``index``, ``(H, W)`` uint8 of 0..K-1 and ``ignore_index``, checked against the classes.

        Raises:
            ValueError, CorruptImageError: see the class.
        """
        file, label = self.pairs[index]
        stored = self._stored(label)
        if stored.ndim == 2 and stored.dtype == np.uint8:
            mapped = stored if self._plain else self._table[stored]
        else:
            mapped = stored  # refused below
        try:
            check_label_map(mapped, self.num_classes, self.ignore_index, path=self.source.place(label), image_size=image_size,
                            image_path=self.source.place(file))
        except ValueError:
            # the values of the file, not of the table, are what the user can look for
            if stored.dtype == np.uint8 and stored.ndim == 2 and mapped.shape == (image_size or mapped.shape):
                check_label_map(np.where((mapped < self.num_classes) | (mapped == self.ignore_index), self.ignore_index,
                                         stored), self.num_classes, self.ignore_index, path=self.source.place(label))
            raise
        return mapped.astype(np.uint8, copy=False)

    def _stored(self, label: str) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(self.source.read(label))) as image:
                if image.mode in ('1', 'I;16', 'I', 'L', 'P'):
                    values = np.array(image.convert('L') if image.mode == '1' else image)
                else:
                    values = np.array(image)
        except (CorruptImageError, FileNotFoundError):
            raise
        except _DECODE_ERRORS as error:
            raise CorruptImageError(f'The label map {self.source.place(label)} cannot be read ({type(error).__name__}: '
                                    f"{error}); replace it, or pass on_error='skip'.") from error
        if values.ndim == 2 and values.dtype != np.uint8 and values.min(initial=0) >= 0 and values.max(initial=0) < 256:
            values = values.astype(np.uint8)
        return values

    def _lookup(self, ignore_values: Sequence[int], reduce_zero_label: bool) -> np.ndarray:
        table = np.arange(256)
        if reduce_zero_label:
            table = table - 1
            table[0] = self.ignore_index
        table[list(ignore_values)] = self.ignore_index
        table[self.ignore_index] = self.ignore_index
        return table.astype(np.uint8)

    def _pairs(self, images: str, labels: str, split_list: str | None, skip: bool) -> list[tuple[str, str]]:
        files = {self._stem(file, images): file for file in self.source.names(images) if file.lower().endswith(EXTENSIONS)}
        maps = {self._stem(file, labels): file for file in self.source.names(labels) if file.lower().endswith('.png')}
        if split_list is None:
            if not files:
                raise FileNotFoundError(f'{self.name}: there are no images ({", ".join(EXTENSIONS)}) in '
                                        f'{self.source.place(images)}.')
            pairs = [(file, maps.get(stem, f'{labels}/{stem}.png')) for stem, file in files.items()]
        else:
            try:
                lines = split_lines(self.source, split_list)
            except FileNotFoundError as error:
                raise FileNotFoundError(f'{self.name}: there is no list {self.source.place(split_list)}.') from error
            pairs = []
            for line in lines:
                parts = line.split()
                if len(parts) == 2:
                    pairs.append(tuple(str(PurePosixPath(split_list).parent / part.lstrip('/')) for part in parts))
                else:
                    stem = str(PurePosixPath(line).with_suffix('')) if line.lower().endswith(EXTENSIONS) else line
                    pairs.append((files.get(stem, f'{images}/{stem}.jpg'), maps.get(stem, f'{labels}/{stem}.png')))
        folders = {str(PurePosixPath(file).parent) for pair in pairs for file in pair}
        present = {file for folder in folders for file in self.source.names('' if folder == '.' else folder)}
        missing = [pair for pair in pairs if not present.issuperset(pair)]
        if missing:
            listed = '; '.join(self.source.place(next(file for file in pair if file not in present)) for pair in missing[:3])
            listed += '; ...' if len(missing) > 3 else ''
            if not skip:
                raise FileNotFoundError(f"{self.name}: {len(missing)} of {len(pairs)} pairs of image and label map lack a "
                                        f"file: {listed}. Put them there, or pass on_error='skip' to train without them.")
            warnings.warn(f'{self.name}: {len(missing)} of {len(pairs)} pairs lack a file and are left out: {listed}.',
                          stacklevel=3)
        return [pair for pair in pairs if present.issuperset(pair)]

    @staticmethod
    def _stem(file: str, folder: str) -> str:
        return str(PurePosixPath(file).relative_to(PurePosixPath(folder)).with_suffix(''))

    def _check(self, what: str) -> None:
        if what == 'none':
            return
        ignored = []
        for index, (file, label) in enumerate(self.pairs):
            try:
                size = self.source.size(file)
                if what == 'sizes':
                    found = self.source.size(label)
                    if found != size:
                        check_label_map(np.zeros(found, np.uint8), self.num_classes, self.ignore_index,
                                        path=self.source.place(label), image_size=size, image_path=self.source.place(file))
                elif (self.label_map(index, size) == self.ignore_index).all():
                    ignored.append(self.source.place(label))
            except CorruptImageError:
                if self.on_error == 'raise' or self.test_mode:
                    raise
        if ignored:
            warnings.warn(f'{self.name}: {len(ignored)} label maps hold nothing but ignored pixels ({"; ".join(ignored[:3])}'
                          f'{"; ..." if len(ignored) > 3 else ""}).', stacklevel=3)
