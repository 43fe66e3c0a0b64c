"""What readers of box annotations share: cleaning of boxes, and one data set class over a list of annotated images."""
import math
import pickle
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from zoo.data.annotated_images import AnnotatedImages, FileSource
from zoo.registry import near_names

#: pixels by which a box may reach over the border before that is worth a warning (rounding in annotation tools)
SLACK = 1.0


class UnknownCategoryError(ValueError):
    """An object of a category that is not among the classes; the message has the known ones."""


class BoxReport:
    """Collects what was wrong with boxes, and says it in one warning.

    Args:
        name: of the data set.
    """

    def __init__(self, name: str):
        self.name = name
        self.cases: dict[str, list[str]] = {}

    def add(self, kind: str, where: str) -> None:
        """Count one case of ``kind``, such as ``'boxes without area dropped'``."""
        self.cases.setdefault(kind, []).append(where)

    def warn(self) -> None:
        """Warn once of all cases, with the first files of each kind; silent if there are none."""
        if self.cases:
            parts = [f'{kind}: {len(found)} ({"; ".join(found[:3])}{"; ..." if len(found) > 3 else ""})'
                     for kind, found in self.cases.items()]
            warnings.warn(f'{self.name}: {". ".join(parts)}.', stacklevel=3)


def clean_box(box: Sequence[float], width: int, height: int, report: BoxReport, where: str) -> list[float] | None:
    """A box cut to its image, or None if nothing is left of it.

    Boxes that reach over the border are clipped; boxes without area (less than a pixel wide or high, corners in the wrong
    order), outside the image or with numbers that are not finite are dropped. All of it goes into the report.

    Args:
        box: x1, y1, x2, y2 in pixels.
        width, height: of the image.
        where: for the report, such as ``'a.xml: cat'``.
    """
    shown = f'{where} [{", ".join(f"{value:g}" for value in box)}]'
    if not all(math.isfinite(value) for value in box):
        report.add('boxes with NaN or infinity dropped', shown)
        return None
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        report.add('boxes without area dropped', shown)
        return None
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if x2 - x1 < 1 or y2 - y1 < 1:
        report.add('boxes outside their image dropped', shown)
        return None
    if max(x1 - box[0], y1 - box[1], box[2] - x2, box[3] - y2) > SLACK:
        report.add('boxes clipped to their image', shown)
    return [x1, y1, x2, y2]


def unknown_category(name: str, where: str, known: Iterable[str]) -> str:
    """One sentence for a category that is not among the classes."""
    known = list(known)
    close = near_names(name, known)
    return (f'{where} has an object of the unknown category {name!r}; '
            + (f'did you mean {", ".join(close)}? ' if close else '') + f'The classes are {", ".join(known[:100])}. '
            "Add it to classes, or pass unknown='ignore'.")


class _Packed(Sequence):
    """A list of plain records as one array of bytes, which workers share instead of copying on each reference count."""

    def __init__(self, records: Iterable):
        parts = [np.frombuffer(pickle.dumps(record, protocol=4), dtype=np.uint8) for record in records]
        self.ends = np.cumsum([len(part) for part in parts])
        self.bytes = np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int):
        start = self.ends[index - 1] if index else 0
        return pickle.loads(memoryview(self.bytes[start:self.ends[index]]))


class DetectionFiles(AnnotatedImages):
    """Images with boxes from a list of records; see :class:`zoo.data.VocDetection` and :class:`zoo.data.CocoDetection`.

    Args:
        records: dicts ``file``, ``annotation`` (name for messages), ``height``, ``width`` and ``instances``; ``img_id``
            optionally.
        source: where the files are.
        drop_empty: leave images without (not ignored) boxes out.
        min_size: images whose shorter side is below are left out.
        subset, subset_seed: see :func:`zoo.data.subset_positions`.
        others: see :class:`zoo.data.AnnotatedImages`.
    """

    def __init__(self, records: list[dict], source: FileSource, class_names: Sequence[str], palette, *, name: str,
                 drop_empty: bool, min_size: int, subset, subset_seed: int, **options):
        pipeline = options.pop('pipeline')
        super().__init__(pipeline, 'mmdet', class_names, palette, name=name, **options)
        self.source = source
        if min_size:
            records = [record for record in records if min(record['height'], record['width']) >= min_size]
        if drop_empty:
            records = [record for record in records if any(not box['ignore_flag'] for box in record['instances'])]
        if not records:
            raise ValueError(f'{name}: no images are left' + (' with boxes' if drop_empty else '') + f' in {source.root}.')
        records = self._subset(records, subset, subset_seed)
        self._records = _Packed(records)
        self._set_length(len(records))

    def record(self, index: int) -> dict:
        record = self._records[index]
        image = self.source.image(record['file'])
        if image.shape[:2] != (record['height'], record['width']):  # a photograph annotated as it is shown?
            image = self.source.image(record['file'], upright=True)
        if image.shape[:2] != (record['height'], record['width']):
            raise ValueError(f'The image {self.source.place(record["file"])} is {image.shape[1]}x{image.shape[0]}, but '
                             f'{record["annotation"]} says {record["width"]}x{record["height"]}: its boxes cannot be trusted.')
        path = str(self.source.root / record['file'])
        return self.results(index, image, path=path, img_id=record.get('img_id'), instances=record['instances'])

    def get_data_info(self, index: int) -> dict:
        """``height``, ``width``, ``instances``, ``img_path`` and ``img_id`` of image ``index``, without reading it."""
        record = self._records[index]
        return dict(height=record['height'], width=record['width'], instances=record['instances'],
                    img_path=str(self.source.root / record['file']), img_id=record.get('img_id', index), sample_idx=index)

    def instances(self, index: int) -> list[dict]:
        """The boxes of image ``index``, without reading the image."""
        return self._records[index]['instances']

    def get_cat_ids(self, index: int) -> list[int]:
        return [instance['bbox_label'] for instance in self.instances(index)]


def without_missing(records: list[dict], present: set[str], source: FileSource, name: str, skip: bool) -> list[dict]:
    """The records whose image file is present.

    Raises:
        FileNotFoundError: unless ``skip``, naming the first missing images and their annotations.
    """
    missing = [record for record in records if record['file'] not in present]
    if not missing:
        return records
    listed = '; '.join(f'{source.place(record["file"])} (of {record["annotation"]})' for record in missing[:3])
    listed += '; ...' if len(missing) > 3 else ''
    if not skip:
        raise FileNotFoundError(f"{name}: {len(missing)} of {len(records)} annotated images are missing: {listed}. Put them "
                                "there, or pass on_error='skip' to train without them.")
    warnings.warn(f'{name}: {len(missing)} of {len(records)} annotated images are missing and left out: {listed}.',
                  stacklevel=3)
    return [record for record in records if record['file'] in present]


def split_lines(source: FileSource, path: str | Path) -> list[str]:
    """The non-empty lines of a text file of the source."""
    return [line.strip() for line in source.read(str(path)).decode('utf-8', 'replace').splitlines() if line.strip()]
