"""Transforms of the results dicts of mmdet's and mmseg's pipelines: label maps read and checked, albumentations 2."""
import random
from collections.abc import Sequence

import numpy as np

from zoo.data.pipelines import _albumentations, _build_albumentations
from zoo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelMap:
    """Reads the label map that the zoo's data set offers, as ``gt_seg_map`` ``(H, W)`` uint8.

    It stands where mmseg's ``LoadAnnotations`` would: before the geometric transforms in training, behind the resizing in
    evaluation, whose label maps keep the original size.
    """

    def __call__(self, results: dict) -> dict:
        read = results.pop('read_label_map', None)
        if read is None:
            raise ValueError(f'{results.get("img_path")}: this data set has no label maps (LoadLabelMap is for those of '
                             'zoo.data that have, once in a pipeline).')
        results['gt_seg_map'] = read()
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return 'LoadLabelMap()'


def check_label_map(label_map: np.ndarray, num_classes: int, ignore_index: int, *, path: str,
                    image_size: tuple[int, int] | None = None, image_path: str = '') -> None:
    """Compare a label map ``(H, W)`` of integers with the classes and with its image's size.

    Args:
        num_classes: K; values 0..K-1 and ``ignore_index`` are right.
        image_size: ``(height, width)`` of the image, or None.
        path, image_path: for the message.

    Raises:
        ValueError: naming the file and the values, or both sizes.
    """
    if label_map.ndim != 2:
        raise ValueError(f'The label map {path} has shape {label_map.shape}: it must have one channel of class numbers (a '
                         'coloured picture of classes must be turned into numbers first).')
    if image_size is not None and tuple(label_map.shape) != tuple(image_size):
        raise ValueError(f'The label map {path} is {label_map.shape[1]}x{label_map.shape[0]}, but its image '
                         f'{image_path or path} is {image_size[1]}x{image_size[0]}: they must be of one size.')
    if label_map.dtype == np.uint8:
        counts = np.bincount(label_map.ravel(), minlength=256)
        values = np.flatnonzero(counts)
    else:
        values, counts = np.unique(label_map, return_counts=True)
        counts = dict(zip(values.tolist(), counts.tolist()))
    wrong = [int(v) for v in values if not 0 <= v < num_classes and v != ignore_index]
    if wrong:
        listed = ', '.join(f'{v} ({int(counts[v])} pixels)' for v in wrong[:8]) + (' ...' if len(wrong) > 8 else '')
        raise ValueError(f'The label map {path} has values outside the {num_classes} classes: {listed}. Allowed are 0 to '
                         f'{num_classes - 1} and {ignore_index} (ignored): correct the file or num_classes, or list such '
                         "values in the data set's ignore_values.")


@TRANSFORMS.register_module()
class CheckLabelMap:
    """Fails on label maps with values outside the classes or another size than the image; put it behind mmseg's
    ``LoadAnnotations`` (the zoo's own data sets check by themselves).

    Args:
        num_classes: K.
        ignore_index: the value that is ignored.
        size: compare the sizes too: with the original image (``'original'``), with the image as it is now
            (``'present'``), or not (None).
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, size: str | None = 'original'):
        if size not in ('original', 'present', None):
            raise ValueError(f"size must be 'original', 'present' or None, got {size!r}.")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.size = size

    def __call__(self, results: dict) -> dict:
        size = {'original': results.get('ori_shape'), 'present': results['img'].shape[:2], None: None}[self.size]
        check_label_map(results['gt_seg_map'], self.num_classes, self.ignore_index,
                        path=str(results.get('seg_map_path')), image_size=None if size is None else tuple(size[:2]),
                        image_path=str(results.get('img_path')))
        return results

    def __repr__(self) -> str:
        return f'CheckLabelMap({self.num_classes} classes, ignore_index={self.ignore_index}, size={self.size!r})'


@TRANSFORMS.register_module()
class DenseAlbumentations:
    """A list of albumentations transforms (2.0) on image, boxes, instance masks and label map together.

    mmdet's ``Albu`` leaves label maps out, and albumentations 2 draws from a generator of its own that knows nothing of
    the data set's seed; here the seed comes from NumPy's global generator, which the zoo's data sets set for each image.

    Boxes that lose too much are dropped with their labels, flags and masks. An image whose boxes are all gone is kept
    (as a picture of background) unless ``skip_empty``.

    Keys read and written: ``img``; if present ``gt_bboxes`` (mmdet's boxes or ``(N, 4)`` xyxy), ``gt_bboxes_labels``,
    ``gt_ignore_flags``, ``gt_masks`` (BitmapMasks), and the label maps of ``seg_fields``.

    Args:
        transforms: ``dict(type='A.Name', **arguments)`` (``'A.'`` may be left out) or albumentations objects.
        min_visibility: a box that keeps a smaller part of its area is dropped.
        min_area: in pixels, of what is left of a box.
        skip_empty: give None (the data set takes another image) where all boxes are gone.
        fill_label: what geometric transforms put in a label map where there was no image.

    Raises:
        UnknownNameError, ValueError: for names and arguments that albumentations does not know.
    """

    def __init__(self, transforms: Sequence, min_visibility: float = 0.1, min_area: float = 1.0, skip_empty: bool = False,
                 fill_label: int = 255):
        library = _albumentations()
        steps = [_build_albumentations(entry) for entry in transforms]
        for step in steps:
            _fill_masks(step, fill_label)
        self.moves = any(_moves(step, library.DualTransform) for step in steps)
        self.compose = library.Compose(steps, bbox_params=library.BboxParams(
            format='pascal_voc', label_fields=['positions'], min_visibility=min_visibility, min_area=min_area, clip=True,
            filter_invalid_bboxes=True) if self.moves else None)
        self.skip_empty = skip_empty

    def __call__(self, results: dict) -> dict | None:
        seed = np.random.randint(2**31, size=2)
        self.compose.set_random_state(np.random.default_rng(int(seed[0])), random.Random(int(seed[1])))
        image = np.ascontiguousarray(results['img'])
        if not self.moves:  # colours only
            results['img'] = self.compose(image=image)['image']
            return results
        boxes = results.get('gt_bboxes')
        plain = np.zeros((0, 4), np.float32) if boxes is None else _as_array(boxes)
        fields = [key for key in results.get('seg_fields', []) if key in results]
        if 'gt_seg_map' in results and 'gt_seg_map' not in fields:
            fields.append('gt_seg_map')
        instance_masks = results.get('gt_masks')
        if instance_masks is not None and not isinstance(instance_masks.masks, np.ndarray):
            raise ValueError('DenseAlbumentations needs instance masks as bitmaps: LoadAnnotations(with_mask=True, '
                             'poly2mask=True).')
        maps = [np.ascontiguousarray(results[key]) for key in fields]
        if instance_masks is not None and len(instance_masks):
            # the rim of a turned instance mask is "not this object", of a label map "unknown": 0 against fill_label
            maps += [np.ascontiguousarray(1 - mask) for mask in instance_masks.masks]
        arguments = dict(image=image, bboxes=plain, positions=np.arange(len(plain)))
        if maps:
            arguments['masks'] = maps
        done = self.compose(**arguments)
        kept = np.asarray(done['positions'], dtype=np.int64).reshape(-1)
        if boxes is not None and self.skip_empty and len(plain) and not len(kept):
            return None
        results['img'] = done['image']
        results['img_shape'] = done['image'].shape[:2]
        maps = list(done.get('masks', []))
        for key, label_map in zip(fields, maps):
            results[key] = label_map
        if boxes is not None:
            changed = np.asarray(done['bboxes'], dtype=np.float32).reshape(-1, 4)
            results['gt_bboxes'] = type(boxes)(changed, dtype=boxes.tensor.dtype) if hasattr(boxes, 'tensor') else changed
            for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
                if key in results:
                    results[key] = np.asarray(results[key])[kept]
        if instance_masks is not None:
            height, width = results['img_shape']
            masks = [(maps[len(fields) + k] == 0).astype(np.uint8) for k in kept] if boxes is not None else \
                [(mask == 0).astype(np.uint8) for mask in maps[len(fields):]]
            results['gt_masks'] = type(instance_masks)(masks, height, width)
        return results

    def __repr__(self) -> str:
        return f'DenseAlbumentations({list(self.compose.transforms)})'


def _as_array(boxes) -> np.ndarray:
    boxes = boxes.tensor.numpy() if hasattr(boxes, 'tensor') else np.asarray(boxes)
    return boxes.astype(np.float32).reshape(-1, 4)


def _moves(step, dual: type) -> bool:
    inner = getattr(step, 'transforms', None)
    return any(_moves(entry, dual) for entry in inner) if inner else isinstance(step, dual)


def _fill_masks(step, value: int) -> None:
    """Where a transform can say what fills a mask, and was not told, let it be ``value``."""
    if getattr(step, 'fill_mask', None) in (0, 0.0):
        step.fill_mask = value
    for inner in getattr(step, 'transforms', []) or []:
        _fill_masks(inner, value)
