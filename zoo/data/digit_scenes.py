"""Scenes composed of real handwritten digits, with boxes, masks and label maps; needs no download."""
from collections.abc import Sequence

import numpy as np

from zoo.data.annotated_images import AnnotatedImages, distinct_colours
from zoo.registry import DATASETS

#: of a digit's ink (0..1): from here on a pixel belongs to it; between the two it is anyone's
CORE, EDGE = 0.45, 0.15
TRIES = 25


@DATASETS.register_module()
class DigitScenes(AnnotatedImages):
    """Several digits of scikit-learn's real scans, enlarged, turned and coloured, on a textured and noisy background.

    Digits may overlap: the later one hides the earlier, of which at least half stays visible. Boxes and masks are those of
    the visible pixels. In the label map the background is 0, digit ``d`` is ``1 + d``, and the blurred rim of each digit,
    where the 8x8 scan does not say what a pixel is, is ``ignore_index``. Train and validation scenes are made of the
    disjoint sides of :class:`zoo.data.Digits` (1,437 and 360 scans), from different random streams. Scene ``i`` depends on
    ``(train, scene_seed, i, size, digits, digit_size)`` alone; it is drawn when first asked for and kept in memory.

    Source of the scans: ``sklearn.datasets.load_digits`` (UCI "Optical Recognition of Handwritten Digits", Alpaydin and
    Kaynak, 1998). The composition is our own; no reference code.

    Args:
        train: which side.
        form: ``'detection'``: instances of 10 classes; ``'segmentation'``: a label map of 11 (background and digits);
            ``'foreground'``: a label map of 2 (background and any digit).
        scenes: how many; 600 for training and 150 for validation if None.
        size: side of the square image in pixels.
        digits: least and most digits a scene.
        digit_size: least and most height of a digit in pixels; None: 1/5 to 4/9 of ``size``.
        ignore_index: of rims in the label map.
        scene_seed: another seed gives other scenes.
        pipeline, name, test_mode, seed: see :class:`zoo.data.AnnotatedImages`; ``test_mode`` is ``not train`` if None.

    Raises:
        ValueError: for ranges that make no sense.
    """

    def __init__(self, train: bool = True, form: str = 'detection', scenes: int | None = None, size: int = 96,
                 digits: Sequence[int] = (2, 5), digit_size: Sequence[int] | None = None, ignore_index: int = 255,
                 scene_seed: int = 0, pipeline: Sequence = (), *, name: str = 'DigitScenes', test_mode: bool | None = None,
                 seed: int | None = None):
        if form not in ('detection', 'segmentation', 'foreground'):
            raise ValueError(f"form must be 'detection', 'segmentation' or 'foreground', got {form!r}.")
        digit_size = (round(size / 5), round(size * 4 / 9)) if digit_size is None else tuple(digit_size)
        if size < 32 or not 8 <= digit_size[0] <= digit_size[1] <= size * 0.7 or not 1 <= digits[0] <= digits[1]:
            raise ValueError(f'DigitScenes needs size >= 32, 8 <= least <= most digit_size <= 0.7 * size and 1 <= least <= '
                             f'most digits, got size={size}, digit_size={tuple(digit_size)}, digits={tuple(digits)}.')
        names, palette = [str(k) for k in range(10)], distinct_colours(10)
        if form == 'segmentation':
            names, palette = ['background', *names], [(60, 60, 60), *palette]
        elif form == 'foreground':
            names, palette = ['background', 'digit'], [(60, 60, 60), (255, 255, 255)]
        super().__init__(pipeline, 'mmdet' if form == 'detection' else 'mmseg', names, palette, name=name,
                         test_mode=not train if test_mode is None else test_mode, seed=seed)
        self.form = form
        self.train = train
        self.size = size
        self.digits = tuple(digits)
        self.digit_size = digit_size
        self.ignore_index = ignore_index
        self.scene_seed = scene_seed
        self._scans, self._labels = _scans(train)
        self._set_length((600 if train else 150) if scenes is None else scenes)
        self._drawn: dict[int, tuple] = {}

    def record(self, index: int) -> dict:
        image, label_map, instances = self.scene(index)
        path = f'{self.name}/{"train" if self.train else "val"}/{index:05d}.png'
        if self.form == 'foreground':
            label_map = np.where(label_map == self.ignore_index, label_map, label_map.clip(max=1)).astype(np.uint8)
        if self.form != 'detection':
            return self.results(index, image, path=path, seg_map_path=path, read_label_map=label_map.copy)
        return self.results(index, image, path=path, instances=[dict(instance) for instance in instances])

    def scene(self, index: int) -> tuple[np.ndarray, np.ndarray, list[dict]]:
        """Scene ``index``: image ``(S, S, 3)`` uint8 RGB, label map ``(S, S)`` uint8, and instances as mmdet wants them:
        ``bbox`` [x1, y1, x2, y2] in pixels, ``bbox_label`` 0..9, ``mask`` (run lengths), ``ignore_flag`` 0."""
        if index not in self._drawn:
            self._drawn[index] = self._draw(np.random.default_rng([self.scene_seed, int(self.train), index]))
        return self._drawn[index]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_drawn': {}}

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[dict]]:
        from pycocotools import mask as run_lengths
        size = self.size
        canvas = _background(rng, size)
        label_map = np.zeros((size, size), dtype=np.uint8)
        areas, visible, labels = [], [], []
        for _ in range(int(rng.integers(self.digits[0], self.digits[1] + 1))):
            scan = int(rng.integers(len(self._scans)))
            ink = _enlarged(self._scans[scan], rng, self.digit_size, size)
            for _ in range(TRIES):
                top, left = (int(rng.integers(size - side + 1)) for side in ink.shape)
                window = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
                hidden = np.zeros((size, size), dtype=bool)
                hidden[window] = ink >= EDGE
                if all((mask & ~hidden).sum() >= 0.5 * area for mask, area in zip(visible, areas)):
                    break
            else:
                continue  # no room left: one digit fewer
            colour = _contrasting(rng, canvas[window].mean(axis=(0, 1)))
            shade = np.clip((ink - 0.1) / 0.5, 0, 1)[:, :, None]
            canvas[window] = canvas[window] * (1 - shade) + colour * shade
            label = int(self._labels[scan])
            label_map[window][ink >= EDGE] = self.ignore_index
            label_map[window][ink >= CORE] = 1 + label
            core = np.zeros((size, size), dtype=bool)
            core[window] = ink >= CORE
            visible = [mask & ~hidden for mask in visible] + [core]
            areas.append(core.sum())
            labels.append(label)
        canvas += rng.normal(0, rng.uniform(2, 8), canvas.shape)
        instances = []
        for mask, label in zip(visible, labels):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            code = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
            instances.append(dict(bbox=[float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)],
                                  bbox_label=label, ignore_flag=0,
                                  mask=dict(size=list(code['size']), counts=code['counts'].decode())))
        return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), label_map, instances


def _scans(train: bool) -> tuple[np.ndarray, np.ndarray]:
    from zoo.data.arrays import Digits
    digits = Digits(train=train, size=8, channels=1)
    return digits.images[:, 0].numpy().astype(np.float32) / 255, digits.labels.numpy()


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two layers of smooth colour noise, ``(S, S, 3)`` float32 of 0..255."""
    import cv2
    canvas = np.full((size, size, 3), rng.uniform(50, 205, 3), dtype=np.float32)
    for cells, strength in ((3, 28), (int(rng.integers(8, 17)), 11)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas, 0, 255)


def _enlarged(scan: np.ndarray, rng: np.random.Generator, heights: tuple[int, int], size: int) -> np.ndarray:
    """An 8x8 scan, enlarged to a drawn height, a little narrowed or widened and turned; ink of 0..1, cut to its extent."""
    import cv2
    height = rng.uniform(*heights)
    width = height * rng.uniform(0.75, 1.1)
    angle = np.deg2rad(rng.uniform(-15, 15))
    side = min(size, int(np.ceil(1.3 * max(height, width))))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([width / 8, height / 8])
    shift = (side - 1) / 2 - linear @ np.array([3.5, 3.5])
    ink = cv2.warpAffine(scan, np.column_stack([linear, shift]), (side, side), flags=cv2.INTER_CUBIC)
    ink = np.clip(ink, 0, 1)
    rows, columns = np.flatnonzero((ink >= EDGE).any(1)), np.flatnonzero((ink >= EDGE).any(0))
    return ink[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def _contrasting(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A colour whose brightness differs from ``behind``'s by at least 80 of 255."""
    weights = np.array([0.299, 0.587, 0.114])
    while True:
        colour = rng.uniform(0, 255, 3)
        if abs(weights @ colour - weights @ behind) >= 80:
            return colour.astype(np.float32)
