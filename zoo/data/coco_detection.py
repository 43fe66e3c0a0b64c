"""Boxes (and masks) in COCO's JSON format."""
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from zoo.data.annotated_images import FileSource
from zoo.data.detection_files import BoxReport, DetectionFiles, UnknownCategoryError, clean_box, without_missing
from zoo.registry import DATASETS, near_names


@DATASETS.register_module()
class CocoDetection(DetectionFiles):
    """Images and one ``instances_*.json``; crowds are kept and marked as ignored.

    Boxes without area or outside the image are dropped, boxes over the border clipped, annotations of unknown images
    ignored, with one warning for the data set.

    Args:
        root: folder or zip file.
        annotations: the JSON file, below ``root``.
        images: folder of the images, below ``root``.
        classes: K names in the order of the labels, a choice of the file's categories (the rest is ignored, with a word in
            the warning); by default all, in the order of their ids.
        masks: keep the segmentations (polygons or run lengths), for ``LoadAnnotations(with_mask=True)``.
        palette: K colours.
        drop_empty, min_size, subset, subset_seed: see :class:`zoo.data.DetectionFiles`.
        on_error: ``'skip'`` leaves missing and unreadable images out, with a warning.
        pipeline, name, test_mode, seed: see :class:`zoo.data.AnnotatedImages`.

    Raises:
        FileNotFoundError: for a missing root, annotation file or image; the last names the first files.
        UnknownCategoryError: for a category that the file does not declare, with those that it does.
        ValueError: for a file that is no COCO JSON, or classes that it does not have.
    """

    def __init__(self, root: str | Path, annotations: str, images: str = '', classes: Sequence[str] | None = None,
                 pipeline: Sequence = (), *, masks: bool = False, palette: Sequence | None = None, drop_empty: bool = False,
                 min_size: int = 0, subset: int | float | None = None, subset_seed: int = 0, on_error: str = 'raise',
                 name: str | None = None, test_mode: bool = False, seed: int | None = None):
        source = FileSource(root)
        name = source.root.stem if name is None else name
        place = source.place(annotations)
        facts = _read(source, annotations)
        categories = {int(entry['id']): str(entry['name']) for entry in sorted(facts['categories'], key=lambda e: int(e['id']))}
        names = list(categories.values()) if classes is None else [str(entry) for entry in classes]
        for entry in names:
            if entry not in categories.values():
                close = near_names(entry, categories.values()) or list(categories.values())[:100]
                raise ValueError(f'{place} has no category {entry!r}; near ones are {", ".join(close)}.')
        labels = {key: names.index(entry) for key, entry in categories.items() if entry in names}

        records = {}
        for entry in facts['images']:
            records[entry['id']] = dict(
                file=str(PurePosixPath(images, entry['file_name'])), annotation=place, img_id=entry['id'],
                height=int(entry.get('height') or 0), width=int(entry.get('width') or 0), instances=[])
        kept = without_missing(list(records.values()), set(source.names(images)), source, name,
                               on_error == 'skip' and not test_mode)
        for record in kept:
            if not record['height'] or not record['width']:
                record['height'], record['width'] = source.size(record['file'])
        report = BoxReport(name)
        for entry in facts['annotations']:
            self._add(entry, records, categories, labels, masks, report, place)
        report.warn()
        super().__init__(kept, source, names, palette, name=name, drop_empty=drop_empty, min_size=min_size, subset=subset,
                         subset_seed=subset_seed, pipeline=pipeline, test_mode=test_mode, on_error=on_error, seed=seed)

    @staticmethod
    def _add(entry: dict, records: dict, categories: dict, labels: dict, masks: bool, report: BoxReport, place: str) -> None:
        number, category = entry.get('id'), entry.get('category_id')
        if entry.get('ignore'):
            return
        if category not in categories:
            known = ', '.join(f'{key} ({entry})' for key, entry in list(categories.items())[:100])
            raise UnknownCategoryError(f'Annotation {number} of {place} has the unknown category_id {category!r}; '
                                       f'the file declares {known}.')
        if category not in labels:
            report.add('objects of other categories ignored', f'annotation {number}: {categories[category]}')
            return
        record = records.get(entry.get('image_id'))
        if record is None:
            report.add('annotations of unknown images ignored', f'annotation {number}: image_id {entry.get("image_id")!r}')
            return
        box = entry.get('bbox')
        if not isinstance(box, (list, tuple)) or len(box) != 4:
            raise ValueError(f'Annotation {number} of {place} has no bbox [x, y, width, height], but {box!r}.')
        x, y, width, height = (float('nan') if value is None else float(value) for value in box)
        where = f'{PurePosixPath(record["file"]).name}: annotation {number} ({categories[category]})'
        if not record['height']:  # its image is missing
            return
        box = clean_box([x, y, x + width, y + height], record['width'], record['height'], report, where)
        if box is None:
            return
        instance = dict(bbox=box, bbox_label=labels[category], ignore_flag=int(bool(entry.get('iscrowd'))))
        if masks:
            if not entry.get('segmentation'):
                raise ValueError(f'Annotation {number} of {place} has no segmentation, which masks=True needs.')
            instance['mask'] = entry['segmentation']
        record['instances'].append(instance)


def _read(source: FileSource, annotations: str) -> dict:
    place = source.place(annotations)
    try:
        text = source.read(annotations)
    except FileNotFoundError as error:
        near = [file for file in source.names(str(PurePosixPath(annotations).parent)) if file.endswith('.json')]
        raise FileNotFoundError(f'There is no annotation file {place}'
                                + (f'; there are {", ".join(near[:10])}.' if near else '.')) from error
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise ValueError(f'{place} is no JSON: {error}.') from error
    missing = [key for key in ('images', 'annotations', 'categories') if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise ValueError(f'{place} is no COCO annotation file: it lacks {", ".join(missing)}.')
    return facts
