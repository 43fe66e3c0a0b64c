"""Predictions for image files: classes, boxes or label maps, as numbers and as pictures."""
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from zoo.data.annotated_images import AnnotatedImages, distinct_colours
from zoo.data.dense_pipeline import DensePipeline
from zoo.data.folder import _DECODE_ERRORS, EXTENSIONS, CorruptImageError
from zoo.data.pipelines import ImagePipeline, ResizeShorterSide
from zoo.models import load_checkpoint
from zoo.models.released import load_released
from zoo.registry import DATASETS, MODELS, UnknownNameError, near_names

from .drawing import draw_boxes, grid, legend, paint_label_map

#: transforms of an evaluation's pipeline that need annotations
ANNOTATIONS = ('LoadAnnotations', 'LoadPanopticAnnotations', 'LoadLabelMap', 'CheckLabelMap', 'LoadImageFromFile')
KINDS = {'MMDetModel': 'detection', 'MMSegModel': 'segmentation'}


@dataclass
class Prediction:
    """What a network says of one image.

    Attributes:
        labels: classification: classes in order of probability; detection: N classes in order of the score.
        scores: of each label, 0..1, float32.
        boxes: detection: ``(N, 4)`` xyxy in pixels of the image.
        label_map: segmentation: ``(H, W)`` class numbers.
    """
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    boxes: np.ndarray | None = None
    label_map: np.ndarray | None = None


class Predictor:
    """A network with all that is needed to go from an image to a :class:`Prediction`; see :func:`load_predictor`.

    Args:
        net: a network of the zoo, mmdet or mmseg.
        kind: ``'classification'``, ``'detection'`` or ``'segmentation'``.
        prepare: from an image ``(H, W, 3)`` uint8 RGB to what ``preprocess`` takes.
        preprocess: to the network's input: a tensor ``(1, C, H, W)``, or a dict ``inputs`` and ``data_samples``.
        class_names: in the order of the outputs; numbers where it is None.
        palette: colours ``(r, g, b)``; distinct ones if None.
    """

    def __init__(self, net: nn.Module, kind: str, prepare: Callable, preprocess: Callable,
                 class_names: Sequence[str] | None = None, palette: Sequence | None = None):
        self.net = net.eval()
        self.kind = kind
        self.prepare = prepare
        self.preprocess = preprocess
        self.class_names = [str(name) for name in class_names or ()]
        self._palette = list(palette or ())

    def name_of(self, label: int) -> str:
        """The name of a class, or its number."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def palette(self, number: int) -> list:
        """At least ``number`` colours."""
        return self._palette if len(self._palette) >= number else distinct_colours(max(number, 1))

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Prediction:
        """Predict one image ``(H, W, 3)`` uint8 RGB."""
        data = self.preprocess(self.prepare(image))
        if self.kind == 'classification':
            logits = self.net(data)
            scores = torch.softmax(logits.float()[0], 0).sort(descending=True, stable=True)
            return Prediction(labels=scores.indices.cpu().numpy(), scores=scores.values.cpu().numpy())
        sample = self.net.predict(data['inputs'], data['data_samples'])[0]
        if self.kind == 'segmentation':
            return Prediction(label_map=sample.pred_sem_seg.data[0].cpu().numpy())
        found = sample.pred_instances
        order = found.scores.float().argsort(descending=True, stable=True)
        return Prediction(labels=found.labels[order].cpu().numpy(), scores=found.scores.float()[order].cpu().numpy(),
                          boxes=found.bboxes.float()[order].cpu().numpy())


# ---- building

def load_predictor(checkpoint: str | Path | None = None, config: Config | None = None, *, device: str | torch.device = 'cpu',
                   scale: tuple[int, int] | None = None) -> Predictor:
    """A predictor from a released file alone, or from a config and a checkpoint.

    With a config, images go through the transforms of its test set. A released file knows its input's shape and statistics:
    then a classifier's image is resized and cropped to that shape (with a margin of 1/8 from 128 pixels on, as is usual for
    ImageNet), a detector's is fitted into it, and a segmentor's is taken as it is.

    Args:
        checkpoint: a released ``.safetensors`` file, ``zoo://name``, or, with a config, any checkpoint of its student; None
            if the config's student has its own.
        config: as :func:`zoo.engine.prepare_config` returns it.
        device: where the network runs.
        scale: ``(width, height)`` that a detector's or segmentor's image is fitted into, instead.

    Raises:
        FileNotFoundError, ValueError: for a missing or unfit file, and if there is not enough to build the network from.
    """
    released = _released(checkpoint)
    if released is None and config is None:
        raise ValueError(f'{checkpoint} does not say how to build its network: add --config, or give a released '
                         'student.safetensors.' if checkpoint else 'Give a checkpoint, a config, or both.')
    facts, pipeline, transforms, names, palette, preprocessor = {}, None, (), None, None, None
    if config is not None:
        settings = _test_set(config)
        pipeline, transforms = settings.get('pipeline'), settings.get('transforms') or ()
        names, palette = _names(config, settings)
    if released is not None:
        net, facts = released, dict(getattr(released, 'preprocess', None) or {})
        names = getattr(released, 'class_names', None) or names
        kind = _kind_of(net, config)
        preprocessor = getattr(net, 'data_preprocessor', None)
    else:
        net, preprocessor, facts, kind = _from_config(config, checkpoint)
    net = net.to(device)
    if kind == 'classification':
        shape = tuple(facts.get('input_shape') or ())
        if len(shape) != 3:
            raise ValueError(f'{checkpoint} does not say the shape of its input: add --config.')
        return Predictor(net, kind, _classifier_input(shape, ImagePipeline(transforms)),
                         _normaliser(facts, preprocessor, device), names, palette)
    shape = facts.get('input_shape')
    if scale is None and pipeline is None and kind == 'detection' and shape:
        scale = tuple(shape[:0:-1])
    library = 'mmdet' if kind == 'detection' else 'mmseg'
    prepare = _DenseInput(library, pipeline if scale is None else None, scale)
    preprocessor = preprocessor.to(device)
    return Predictor(net, kind, prepare, lambda data: preprocessor(data, False), names, palette)


def _released(checkpoint) -> nn.Module | None:
    if checkpoint is None:
        return None
    text = str(checkpoint)
    if text.startswith('zoo://'):
        import zoo.hub
        return zoo.hub.load(text.removeprefix('zoo://'))
    if not Path(text).is_file():
        raise FileNotFoundError(f'There is no checkpoint {text}.')
    if not text.endswith('.safetensors'):
        return None
    from zoo.models.released import read_metadata
    return load_released(text) if 'build' in read_metadata(text) else None


def _kind_of(net: nn.Module, config: Config | None) -> str:
    kind = KINDS.get((getattr(net, 'build_config', None) or {}).get('type'))
    if kind is None and config is not None:
        kind = _task(config).get('type', 'Classification').lower()
    if kind is None:
        kind = 'segmentation' if hasattr(net, 'decode_head') else 'detection' if hasattr(net, 'bbox_head') else 'classification'
    if kind not in ('classification', 'detection', 'segmentation'):
        raise ValueError(f'tools/predict.py is for classification, detection and segmentation; this config is of {kind}.')
    return kind


def _task(config: Config) -> dict:
    return config.model.get('task') or config.get('task') or {}


def _test_set(config: Config) -> dict:
    """The config of the test set, below mmdet's and mmseg's wrappers."""
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    settings = loader.get('dataset') or {}
    while isinstance(settings.get('dataset'), Mapping):
        settings = settings['dataset']
    return settings


def _names(config: Config, settings: Mapping) -> tuple[list | None, list | None]:
    names, palette = settings.get('class_names') or settings.get('classes'), settings.get('palette')
    if names is None:
        try:  # a data set that is at hand knows its own
            dataset = test_dataset(config)
        except (OSError, ValueError, KeyError, ImportError):
            return names, palette
        names = getattr(dataset, 'class_names', None)
        palette = palette or getattr(dataset, 'palette', None)
    return names, palette


def test_dataset(config: Config):
    """The config's test set, built."""
    loader = config.get('test_dataloader') or config.get('val_dataloader')
    if loader is None:
        raise ValueError(f'{config.filename} has no test_dataloader.')
    return DATASETS.build(dict(loader['dataset']))


test_dataset.__test__ = False


def _from_config(config: Config, checkpoint) -> tuple[nn.Module, nn.Module | None, dict, str]:
    from .hooks import preprocess_of
    model = dict(config.model.to_dict() if hasattr(config.model, 'to_dict') else config.model)
    if checkpoint is None and not any(model['student'].get(key) for key in ('checkpoint', 'pretrained', 'weights')):
        raise ValueError('Nothing to predict with: give --checkpoint, or set model.student.checkpoint.')
    model.update(teacher=None, distillers=[])
    model.pop('inherit', None)
    model['student'] = {key: value for key, value in model['student'].items() if key != 'inherit'}
    task = str(_task(config).get('type', 'Classification'))
    if task.lower() not in ('classification', 'detection', 'segmentation'):
        raise ValueError(f'tools/predict.py is for classification, detection and segmentation; this config is of {task}.')
    built = MODELS.build(model)
    if checkpoint is not None:
        load_checkpoint(built.student, str(checkpoint))
    facts = preprocess_of(built)
    built.eval()
    return built.student, built.data_preprocessor, facts, task.lower()


def _classifier_input(shape: tuple[int, int, int], pipeline: ImagePipeline) -> Callable:
    channels, height, width = shape
    side = min(height, width)

    def prepare(image: np.ndarray) -> Tensor:
        generator = np.random.default_rng(0)  # an evaluation's transforms draw nothing that matters
        picture = pipeline(image, generator) if pipeline else image
        if isinstance(picture, Tensor):
            picture = picture.permute(1, 2, 0).numpy()
        if picture.shape[:2] != (height, width):
            picture = ResizeShorterSide(round(side * 8 / 7) if side >= 128 else max(height, width))(picture)
            top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
            picture = picture[top:top + height, left:left + width]
        if channels == 1:
            picture = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert('L'))[:, :, None]
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]

    return prepare


def _normaliser(facts: Mapping, preprocessor: nn.Module | None, device) -> Callable:
    if preprocessor is not None and hasattr(preprocessor, 'augment'):
        preprocessor = preprocessor.to(device)
        return lambda images: preprocessor(dict(images=images), False)['images']
    mean, std = (torch.tensor(facts.get(key, default), device=device).view(1, -1, 1, 1)
                 for key, default in (('mean', [0.0]), ('std', [1.0])))

    def normalise(images: Tensor) -> Tensor:
        images = images.to(device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        return (images - mean) / std

    return normalise


class _DenseInput:
    """Image to a batch of one for mmdet's or mmseg's pre-processor."""

    def __init__(self, library: str, pipeline: Sequence | None, scale: tuple[int, int] | None):
        steps = []
        for entry in pipeline or ():
            plain = str(entry.get('type', '')).rpartition('.')[2] if isinstance(entry, Mapping) else ''
            if plain not in ANNOTATIONS:
                steps.append(entry)
        if not steps:
            steps = [dict(type=f'{library}.{"PackDetInputs" if library == "mmdet" else "PackSegInputs"}')]
            if scale is not None:
                steps.insert(0, dict(type=f'{library}.Resize', scale=tuple(scale), keep_ratio=True))
        self.pipeline = DensePipeline(steps, library)

    def __call__(self, image: np.ndarray) -> dict:
        height, width = image.shape[:2]
        sample = self.pipeline(dict(
            img=np.ascontiguousarray(image[:, :, ::-1]), img_path=None, img_id=0, img_shape=(height, width),
            ori_shape=(height, width), height=height, width=width, scale_factor=(1.0, 1.0), flip=False, flip_direction=None,
            seg_fields=[], reduce_zero_label=False))
        return dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])


# ---- images

def image_files(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are named; of folders, all image files below, sorted.

    Raises:
        FileNotFoundError: for a folder without images.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(file for file in path.rglob('*')
                           if file.suffix.lower() in EXTENSIONS and not file.name.startswith('.'))
            if not found:
                raise FileNotFoundError(f'There are no images ({", ".join(EXTENSIONS)}) in the folder {path}.')
            files += found
        else:
            files.append(path)
    return files


def read_image(path: str | Path) -> np.ndarray:
    """An image file as ``(H, W, 3)`` uint8 RGB, turned as its orientation tag says.

    Raises:
        FileNotFoundError: if it is not there, with near names.
        CorruptImageError: if it is no image or damaged.
    """
    path = Path(path)
    if not path.is_file():
        near = near_names(path.name, [file.name for file in path.parent.iterdir() if file.is_file()]) \
            if path.parent.is_dir() else []
        raise FileNotFoundError(f'There is no file {path}.' + (f' Did you mean {", ".join(near)}?' if near else ''))
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    except Image.UnidentifiedImageError as error:
        raise CorruptImageError(f'{path} is not an image (of a kind that Pillow reads).') from error
    except _DECODE_ERRORS as error:
        raise CorruptImageError(f'The image {path} is damaged ({type(error).__name__}: {error}).') from error


# ---- predicting

def draw(image: np.ndarray, prediction: Prediction, predictor: Predictor, score_threshold: float = 0.3,
         with_legend: bool = True) -> np.ndarray:
    """A picture of a detection (boxes with labels and scores) or a segmentation (painted, with a legend)."""
    if prediction.label_map is not None:
        present = [int(label) for label in np.unique(prediction.label_map) if label != 255]
        palette = predictor.palette(max([len(predictor.class_names), *(label + 1 for label in present)]))
        picture = paint_label_map(image, prediction.label_map, palette)
        if not with_legend:
            return picture
        shares = [f'{predictor.name_of(label)} {100 * (prediction.label_map == label).mean():.1f} %' for label in present]
        names = legend(shares, [palette[label] for label in present], picture.shape[1])
        return np.concatenate([picture, names])
    if prediction.boxes is None:
        raise ValueError('A classification is a table, not a picture.')
    kept = prediction.scores >= score_threshold
    number = max([len(predictor.class_names), *(int(label) + 1 for label in prediction.labels)])
    return draw_boxes(image, prediction.boxes[kept], prediction.labels[kept], [predictor.name_of(k) for k in range(number)],
                      predictor.palette(number), prediction.scores[kept])


def predict_files(paths: Iterable[str | Path], predictor: Predictor, out: str | Path | None = None, *,
                  score_threshold: float = 0.3, top: int = 5, console: Console | None = None) -> list[dict]:
    """Predict image files and folders: a table of probabilities, or pictures in ``out``; all as ``out/predictions.json`` too.

    A file that cannot be read is skipped with one sentence on standard error, and the rest is predicted.

    Args:
        paths: files and folders.
        out: folder of the pictures (not needed for classification).
        score_threshold: least score of a box that is drawn or listed.
        top: how many classes are listed for an image.

    Returns:
        One dict for each image that could be read: ``image``, and ``classes`` (name, probability), ``boxes`` (name, score,
        xyxy) or ``classes`` (name, share of the pixels), with ``picture`` where one was drawn.

    Raises:
        FileNotFoundError: if a folder has no images.
        ValueError: if none of the files could be read, or ``out`` is missing.
    """
    console = console or Console(width=None if sys.stdout.isatty() else 110)
    if out is None and predictor.kind != 'classification':
        raise ValueError('Pictures need a folder: give --out.')
    files = image_files(paths)
    results, used = [], set()
    for file in files:
        try:
            image = read_image(file)
        except (FileNotFoundError, CorruptImageError) as error:
            print(f'skipped: {error}', file=sys.stderr)
            continue
        prediction = predictor(image)
        result = dict(image=str(file), **_listed(prediction, predictor, score_threshold, top))
        if predictor.kind != 'classification':
            picture = draw(image, prediction, predictor, score_threshold)
            result['picture'] = str(_write(picture, Path(out), file, used))
        results.append(result)
    if not results:
        raise ValueError(f'None of the {len(files)} files could be read as an image.')
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / 'predictions.json').write_text(json.dumps(results, indent=1) + '\n')
    console.print(_table(results, predictor.kind))
    if len(results) < len(files):
        print(f'{len(results)} images predicted, {len(files) - len(results)} skipped', file=sys.stderr)
    return results


def _listed(prediction: Prediction, predictor: Predictor, score_threshold: float, top: int) -> dict:
    if predictor.kind == 'segmentation':
        labels, counts = np.unique(prediction.label_map, return_counts=True)
        order = counts.argsort(kind='stable')[::-1]
        return dict(classes=[dict(name=predictor.name_of(int(labels[k])), share=round(float(counts[k]) / counts.sum(), 6))
                             for k in order])
    if predictor.kind == 'detection':
        return dict(boxes=[dict(name=predictor.name_of(int(label)), score=round(float(score), 4),
                                xyxy=[round(float(v), 2) for v in box])
                           for label, score, box in zip(prediction.labels, prediction.scores, prediction.boxes)
                           if score >= score_threshold])
    return dict(classes=[dict(name=predictor.name_of(int(label)), probability=round(float(score), 6))
                         for label, score in zip(prediction.labels[:top], prediction.scores[:top])])


def _table(results: list[dict], kind: str) -> Table:
    heads = dict(classification=('class', 'probability'), detection=('boxes', 'picture'), segmentation=('classes', 'picture'))
    table = Table(show_lines=kind == 'classification' and len(results) > 1)
    for head in ('image', *heads[kind]):
        table.add_column(head, overflow='fold', justify='right' if head == 'probability' else 'left')
    for result in results:
        if kind == 'classification':
            table.add_row(result['image'], '\n'.join(entry['name'] for entry in result['classes']),
                          '\n'.join(f'{100 * entry["probability"]:.2f} %' for entry in result['classes']))
        elif kind == 'detection':
            counts: dict[str, int] = {}
            for box in result['boxes']:
                counts[box['name']] = counts.get(box['name'], 0) + 1
            table.add_row(result['image'], ', '.join(f'{n} {name}' for name, n in counts.items()) or 'none', result['picture'])
        else:
            table.add_row(result['image'], ', '.join(f'{entry["name"]} {100 * entry["share"]:.1f} %'
                                                     for entry in result['classes'][:8]), result['picture'])
    return table


def _write(picture: np.ndarray, out: Path, file: Path, used: set) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    name, number = f'{file.stem}.png', 2
    while name in used or (out / name).resolve() == file.resolve():  # the same name in two folders; never over the image itself
        name, number = f'{file.stem}_{number}.png', number + 1
    used.add(name)
    Image.fromarray(picture).save(out / name)
    return out / name


# ---- comparing

def compare_predictions(images: Sequence[np.ndarray], predictors: Mapping[str, Predictor], out: str | Path, *,
            truth: Sequence[Prediction] | None = None, score_threshold: float = 0.3, columns: int = 1) -> Path:
    """Several models' predictions of the same images side by side, as one PNG: a row for each image.

    Args:
        images: each ``(H, W, 3)`` uint8 RGB.
        predictors: by the columns' titles; all detectors or all segmentors.
        out: path of the PNG.
        truth: ground truth for each image, as predictions; then it is the second column, after the image.
        columns: images side by side in a row, each with all its predictions.

    Raises:
        ValueError: for classifiers, mixed kinds, or no images.
    """
    kinds = {predictor.kind for predictor in predictors.values()}
    if len(kinds) != 1 or kinds == {'classification'}:
        raise ValueError('Side by side go detectors or segmentors, of one kind, not '
                         f'{" and ".join(sorted(kinds)) or "nothing"}.')
    if not len(images):
        raise ValueError('There are no images to compare.')
    first = next(iter(predictors.values()))
    titles = ['image', *(['ground truth'] if truth is not None else []), *predictors] * columns
    cells, present, ignored = [], set(), False
    for number, image in enumerate(images):
        row = [draw_boxes(image, np.zeros((0, 4)), [], [], [])]  # enlarged like the others
        predictions = [(first, truth[number])] if truth is not None else []
        predictions += [(predictor, predictor(image)) for predictor in predictors.values()]
        for predictor, prediction in predictions:
            if prediction.label_map is not None:
                found = {int(label) for label in np.unique(prediction.label_map)}
                ignored = ignored or 255 in found
                present |= found - {255}
            else:
                shown = prediction.scores >= score_threshold
                present.update(int(label) for label in prediction.labels[shown])
            row.append(_without_scores(image, prediction, first) if prediction.boxes is not None and not len(prediction.scores)
                       else draw(image, prediction, predictor, score_threshold, with_legend=False))
        cells.append(row)
    width = len(cells[0])
    blank = [np.full_like(cells[0][0], 255)] * width
    cells += [blank] * (-len(cells) % columns)
    rows = [sum(cells[k:k + columns], []) for k in range(0, len(cells), columns)]
    present = sorted(present)
    palette = first.palette(max([len(first.class_names), *(label + 1 for label in present)]))
    total = len(titles) * (max(cell.shape[1] for row in rows for cell in row) + 6) + 6
    names, colours = [first.name_of(label) for label in present], [palette[label] for label in present]
    footer = legend([*names, 'ignored'] if ignored else names, [*colours, (30, 30, 30)], total)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid(rows, titles, footer)).save(out)
    return out


def _without_scores(image: np.ndarray, truth: Prediction, predictor: Predictor) -> np.ndarray:
    number = max([len(predictor.class_names), *(int(label) + 1 for label in truth.labels)])
    names = [predictor.name_of(k) for k in range(number)]
    return draw_boxes(image, truth.boxes, truth.labels, names, predictor.palette(number))


def images_with_truth(dataset, number: int) -> tuple[list[np.ndarray], list[Prediction]]:
    """``number`` images of a data set, evenly spread, with their ground truth, for :func:`compare_predictions`.

    Args:
        dataset: of detection or segmentation, of zoo.data.

    Raises:
        ValueError: for any other data set.
    """
    if not isinstance(dataset, AnnotatedImages):
        raise ValueError('Ground truth beside predictions comes from a data set of zoo.data with boxes or label maps, not '
                         f'from {type(dataset).__name__}: give image files instead.')
    positions = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int))
    images, truth = [], []
    for position in positions.tolist():
        record = dataset.record(position)
        images.append(np.ascontiguousarray(record['img'][:, :, ::-1]))
        if 'read_label_map' in record:
            truth.append(Prediction(label_map=record['read_label_map']()))
        else:
            boxes = [box for box in record['instances'] if not box['ignore_flag']]
            truth.append(Prediction(labels=np.array([box['bbox_label'] for box in boxes], dtype=np.int64),
                                    boxes=np.array([box['bbox'] for box in boxes], dtype=np.float32).reshape(-1, 4)))
    return images, truth


def named_checkpoints(entries: Iterable[str]) -> dict[str, str]:
    """``['teacher=a.safetensors', 'b.safetensors']`` to ``{'teacher': 'a.safetensors', 'b': 'b.safetensors'}``.

    Raises:
        UnknownNameError: for a name given twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, mark, path = entry.partition('=')
        if not mark:
            name, path = Path(entry).stem, entry
        if name in found:
            raise UnknownNameError(f'Two of --compare are called {name!r}: write name=CHECKPOINT with different names.')
        found[name] = path
    return found


def run(images: Sequence[str | Path] = (), *, config: str | Path | None = None, checkpoint: str | Path | None = None,
        out: str | Path = 'predictions', score_threshold: float = 0.3, top: int = 5, scale: Sequence[int] | None = None,
        checkpoints: Sequence[str] | None = None, from_data: int | None = None, device: str = 'cpu',
        options: dict | None = None) -> list[dict] | Path:
    """All that ``tools/predict.py`` does.

    Args:
        images: files and folders.
        config, options: see :func:`zoo.engine.prepare_config`.
        checkpoint: of one model, see :func:`load_predictor`.
        out: folder of what is written.
        checkpoints: of several models to compare, see :func:`named_checkpoints`; ``out/compare.png`` is written.
        from_data: take so many images of the config's test set, with their ground truth, instead of ``images``.
        score_threshold, top, scale, device: see :func:`predict_files` and :func:`load_predictor`.

    Returns:
        What :func:`predict_files` returns, or the path of the comparison.

    Raises:
        ValueError: for options that do not go together; and as of the functions named.
    """
    from .launch import prepare_config
    if not images and from_data is None:
        raise ValueError('No images: name files or folders, or --from-data N with a config.')
    if from_data is not None and (config is None or images or from_data < 1):
        raise ValueError('--from-data N (at least 1) takes images of the data set of --config, instead of image files.')
    settings = None if config is None else prepare_config(config, options=options)
    scale = None if scale is None else tuple(scale)
    named = named_checkpoints(checkpoints or ())
    if not named and from_data is None:
        return predict_files(images, load_predictor(checkpoint, settings, device=device, scale=scale), out,
                             score_threshold=score_threshold, top=top)
    if not named:
        named = {'prediction': checkpoint}
    elif checkpoint is not None:
        raise ValueError('Give either --checkpoint or --compare.')
    predictors = {name: load_predictor(path, settings, device=device, scale=scale) for name, path in named.items()}
    if from_data is not None:
        pictures, truth = images_with_truth(test_dataset(settings), from_data)
    else:
        pictures, truth = [], None
        for file in image_files(images):
            try:
                pictures.append(read_image(file))
            except (FileNotFoundError, CorruptImageError) as error:
                print(f'skipped: {error}', file=sys.stderr)
    path = compare_predictions(pictures, predictors, Path(out) / 'compare.png', truth=truth, score_threshold=score_threshold)
    print(f'written: {path}')
    return path
