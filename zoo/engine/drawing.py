"""Pictures of predictions: boxes with labels, painted label maps with a legend, grids of several models."""
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: a picture's longer side is enlarged (by a whole factor, without smoothing) to at least half of this
SIDE = 640
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (90, 90, 90)


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[int], class_names: Sequence[str],
               palette: Sequence[Sequence[int]], scores: Sequence[float] | None = None) -> np.ndarray:
    """An image with boxes and their classes, best score on top; small images are enlarged so that the text can be read.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(N, 4)`` xyxy in its pixels.
        labels: N class numbers.
        palette: a colour ``(r, g, b)`` for each class.
        scores: N scores of 0..1 to write beside the names; None for ground truth.

    Returns:
        ``(s H, s W, 3)`` uint8, with a whole factor s.
    """
    factor = _factor(image)
    picture = Image.fromarray(_enlarged(image, factor))
    draw = ImageDraw.Draw(picture)
    font = _font(max(10, round(max(picture.size) / 45)))
    width = max(2, round(max(picture.size) / 320))
    order = range(len(labels)) if scores is None else np.argsort(np.asarray(scores), kind='stable')
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * factor
    texts = []
    for k in order:
        colour = tuple(int(value) for value in palette[int(labels[k])])
        x1, y1, x2, y2 = boxes[k]
        x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        text = class_names[int(labels[k])] + ('' if scores is None else f': {float(scores[k]):.2f}')
        texts.append((x1, y1, text, colour))
    for x1, y1, text, colour in texts:  # over all lines
        _, _, w, h = draw.textbbox((0, 0), text, font=font)
        left = float(np.clip(x1, 0, max(0, picture.width - w - 4)))
        top = y1 - h - 3 if y1 - h - 3 >= 0 else y1
        draw.rectangle((left, top, left + w + 3, top + h + 2), fill=colour)
        draw.text((left + 2, top), text, fill=_ink(colour), font=font)
    return np.asarray(picture)


def paint_label_map(image: np.ndarray, label_map: np.ndarray, palette: Sequence[Sequence[int]], strength: float = 0.6,
                    ignore_index: int = 255) -> np.ndarray:
    """An image with its classes painted over it; ignored pixels stay as they are, darkened.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        label_map: ``(H, W)`` class numbers.
        palette: a colour ``(r, g, b)`` for each class.
        strength: of the paint, 0..1.

    Returns:
        ``(s H, s W, 3)`` uint8, with a whole factor s.
    """
    colours = np.zeros((max(256, ignore_index + 1), 3), dtype=np.float32)
    colours[:len(palette)] = palette
    painted = image * (1 - strength) + colours[label_map] * strength
    painted[label_map == ignore_index] = image[label_map == ignore_index] * 0.3
    return _enlarged(np.rint(painted).astype(np.uint8), _factor(image))


def legend(class_names: Sequence[str], palette: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Colours and names in rows of at most ``width`` pixels: ``(H, width, 3)`` uint8."""
    font = _font(13)
    gap, row = 6, 20
    measure = ImageDraw.Draw(Image.new('RGB', (1, 1)))
    places, x, y = [], gap, 4
    for name in class_names:
        needed = 14 + 5 + int(measure.textlength(name, font=font)) + 2 * gap
        if x + needed > width and x > gap:
            x, y = gap, y + row
        places.append((x, y))
        x += needed
    picture = Image.new('RGB', (width, y + row + 2 if class_names else 1), WHITE)
    draw = ImageDraw.Draw(picture)
    for (x, y), name, colour in zip(places, class_names, palette):
        draw.rectangle((x, y + 1, x + 14, y + 15), fill=tuple(int(v) for v in colour), outline=GREY)
        draw.text((x + 19, y), name, fill=BLACK, font=font)
    return np.asarray(picture)


def grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], footer: np.ndarray | None = None) -> np.ndarray:
    """Pictures in rows and columns under the columns' titles; smaller ones are enlarged to the largest of the grid.

    Args:
        rows: each with one picture ``(H, W, 3)`` uint8 for each title.
        footer: a picture to go below, such as a :func:`legend`, of any width.
    """
    gap, header = 6, 24
    side = max(picture.shape[1] for row in rows for picture in row)
    scaled = [[_to_width(picture, side) for picture in row] for row in rows]
    heights = [max(picture.shape[0] for picture in row) for row in scaled]
    width = len(titles) * (side + gap) + gap
    height = header + sum(h + gap for h in heights) + (0 if footer is None else footer.shape[0] + gap)
    canvas = Image.new('RGB', (max(width, 0 if footer is None else footer.shape[1]), height), WHITE)
    draw = ImageDraw.Draw(canvas)
    font = _font(15)
    for k, title in enumerate(titles):
        draw.text((gap + k * (side + gap) + 2, 3), title, fill=BLACK, font=font)
    top = header
    for row, h in zip(scaled, heights):
        for k, picture in enumerate(row):
            canvas.paste(Image.fromarray(picture), (gap + k * (side + gap), top))
        top += h + gap
    if footer is not None:
        canvas.paste(Image.fromarray(footer), (0, top))
    return np.asarray(canvas)


def _factor(image: np.ndarray) -> int:
    return max(1, -(-SIDE // (2 * max(image.shape[:2]))))


def _enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    image = np.ascontiguousarray(image)
    return image if factor == 1 else image.repeat(factor, 0).repeat(factor, 1)


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    if picture.shape[1] == width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _font(size: int):
    return ImageFont.load_default(size=size)


def _ink(colour: Sequence[int]) -> tuple[int, int, int]:
    return BLACK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 else WHITE
