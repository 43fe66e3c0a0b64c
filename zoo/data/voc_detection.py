"""Boxes in Pascal VOC's XML files."""
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from zoo.data.annotated_images import FileSource
from zoo.data.detection_files import (
    BoxReport,
    DetectionFiles,
    UnknownCategoryError,
    clean_box,
    split_lines,
    unknown_category,
    without_missing,
)
from zoo.data.folder import EXTENSIONS
from zoo.registry import DATASETS


@DATASETS.register_module()
class VocDetection(DetectionFiles):
    """Images in ``JPEGImages``, one XML file each in ``Annotations``, names in ``ImageSets/Main/<split>.txt``.

    Boxes are read as mmdet's ``XMLDataset`` reads them: 1 is taken from all four coordinates. Difficult objects are kept
    and marked as ignored. Boxes without area or outside the image are dropped, boxes over the border clipped, with one
    warning for the data set.

    Args:
        root: folder or zip file.
        split: name of the list, or several; ``'VOC2007/trainval'`` names a list in a folder below ``folder``.
        classes: K names in the order of the labels.
        folder: below ``root``, where the three folders are.
        palette: K colours.
        unknown: ``'raise'`` or ``'ignore'`` objects of other categories.
        drop_empty, min_size, subset, subset_seed: see :class:`zoo.data.DetectionFiles`.
        on_error: ``'skip'`` leaves missing and unreadable images out, with a warning.
        pipeline, name, test_mode, seed: see :class:`zoo.data.AnnotatedImages`.

    Raises:
        FileNotFoundError: for a missing root, list, annotation or image; the last two name the first files.
        UnknownCategoryError: for an object of another category, with the known ones.
        ValueError: for a damaged XML file.
    """

    def __init__(self, root: str | Path, split: str | Sequence[str], classes: Sequence[str], folder: str = '',
                 pipeline: Sequence = (), *, palette: Sequence | None = None, unknown: str = 'raise', drop_empty: bool = False,
                 min_size: int = 0, subset: int | float | None = None, subset_seed: int = 0, on_error: str = 'raise',
                 name: str | None = None, test_mode: bool = False, seed: int | None = None):
        if unknown not in ('raise', 'ignore'):
            raise ValueError(f"unknown must be 'raise' or 'ignore', got {unknown!r}.")
        source = FileSource(root)
        name = source.root.stem if name is None else name
        skip = on_error == 'skip' and not test_mode
        report = BoxReport(name)
        records = []
        for entry in [split] if isinstance(split, str) else split:
            base = PurePosixPath(folder, *PurePosixPath(entry).parts[:-1])
            images = {PurePosixPath(file).stem: file for file in source.names(str(base / 'JPEGImages'))
                      if file.lower().endswith(EXTENSIONS)}
            names = _split_names(source, base, PurePosixPath(entry).name)
            found = [_record(source, base, stem, images, classes, unknown, report) for stem in names]
            records += without_missing(found, set(images.values()), source, name, skip)
        for record in records:
            if not record['height'] or not record['width']:  # some tools write no size
                record['height'], record['width'] = source.size(record['file'])
            record['instances'] = _cleaned(record, report)
        report.warn()
        super().__init__(records, source, classes, palette, name=name, drop_empty=drop_empty, min_size=min_size,
                         subset=subset, subset_seed=subset_seed, pipeline=pipeline, test_mode=test_mode, on_error=on_error,
                         seed=seed)


def _split_names(source: FileSource, base: PurePosixPath, split: str) -> list[str]:
    lists = base / 'ImageSets' / 'Main'
    try:
        lines = split_lines(source, lists / f'{split}.txt')
    except FileNotFoundError:
        known = [PurePosixPath(file).stem for file in source.names(str(lists)) if file.endswith('.txt')]
        raise FileNotFoundError(f'There is no list {source.place(str(lists / f"{split}.txt"))}; '
                                + (f'there are {", ".join(known[:20])}.' if known else 'that folder has no lists.')) from None
    return [line.split()[0] for line in lines]


def _record(source: FileSource, base: PurePosixPath, stem: str, images: dict[str, str], classes: Sequence[str], unknown: str,
            report: BoxReport) -> dict:
    annotation = str(base / 'Annotations' / f'{stem}.xml')
    place = source.place(annotation)
    try:
        root = ElementTree.fromstring(source.read(annotation))
        size = root.find('size')
        width, height = (0, 0) if size is None else (int(float(size.findtext(key) or 0)) for key in ('width', 'height'))
        instances = []
        for number, entry in enumerate(root.findall('object'), start=1):
            category = (entry.findtext('name') or '').strip()
            if category not in classes:
                if unknown == 'raise':
                    raise UnknownCategoryError(unknown_category(category, place, classes))
                report.add('objects of other categories ignored', f'{stem}.xml: {category}')
                continue
            corners = entry.find('bndbox')
            if corners is None:
                raise ValueError(f'object {number} has no bndbox')
            box = [float(corners.findtext(key) or 'nan') - 1 for key in ('xmin', 'ymin', 'xmax', 'ymax')]
            instances.append(dict(bbox=box, bbox_label=list(classes).index(category),
                                  ignore_flag=int(bool(int(entry.findtext('difficult') or 0)))))
    except UnknownCategoryError:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f'The annotation {place} cannot be read: {error}.') from error
    return dict(file=images.get(stem, str(base / 'JPEGImages' / f'{stem}.jpg')), annotation=place, height=height, width=width,
                instances=instances, classes=list(classes))


def _cleaned(record: dict, report: BoxReport) -> list[dict]:
    kept, classes = [], record.pop('classes')
    for instance in record['instances']:
        where = f'{PurePosixPath(record["annotation"].split(" in ")[0]).name}: {classes[instance["bbox_label"]]}'
        box = clean_box(instance['bbox'], record['width'], record['height'], report, where)
        if box is not None:
            kept.append({**instance, 'bbox': box})
    return kept
