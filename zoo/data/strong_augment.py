"""The strong view of consistency methods: two random operations and a cut-out square."""
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from zoo.registry import TRANSFORMS


def _enhance(kind):
    return lambda image, value: kind(image).enhance(value)


def _affine(row: int, column: int, *, of_side: bool = False):
    def apply(image, value):
        matrix = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        matrix[3 * row + column] = value * image.size[row] if of_side else value
        return image.transform(image.size, Image.Transform.AFFINE, matrix)
    return apply


# name: (operation, lowest and highest magnitude); geometric ones fill with black, by the nearest pixel
OPERATIONS = {
    'AutoContrast': (lambda image, value: ImageOps.autocontrast(image), 0.0, 1.0),
    'Brightness': (_enhance(ImageEnhance.Brightness), 0.05, 0.95),
    'Color': (_enhance(ImageEnhance.Color), 0.05, 0.95),
    'Contrast': (_enhance(ImageEnhance.Contrast), 0.05, 0.95),
    'Equalize': (lambda image, value: ImageOps.equalize(image), 0.0, 1.0),
    'Identity': (lambda image, value: image, 0.0, 1.0),
    'Posterize': (lambda image, value: ImageOps.posterize(image, int(value)), 4.0, 8.0),
    'Rotate': (lambda image, value: image.rotate(value), -30.0, 30.0),
    'Sharpness': (_enhance(ImageEnhance.Sharpness), 0.05, 0.95),
    'ShearX': (_affine(0, 1), -0.3, 0.3),
    'ShearY': (_affine(1, 0), -0.3, 0.3),
    'Solarize': (lambda image, value: ImageOps.solarize(image, value), 0.0, 256.0),
    'TranslateX': (_affine(0, 2, of_side=True), -0.3, 0.3),
    'TranslateY': (_affine(1, 2, of_side=True), -0.3, 0.3),
}


@TRANSFORMS.register_module()
class StrongAugment:
    """Random operations, each with a magnitude uniform in its range, then Cutout; as MLKD and CRLD use it.

    ``number`` operations are drawn with replacement from the 14 of ``OPERATIONS`` and always applied; then a square is
    filled whose side is a uniform share (0 to ``cutout``) of the image's width. There is no nominal magnitude.

    Source: Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023, by our specification's account of
    Jin-Ying/Multi-Level-Logit-Distillation@5ee473f; the release itself was not read or run here. Not in the
    specification, so our reading: nearest-pixel geometry with black borders (Pillow's default); where the square lies
    (a uniform centre, moved inside at the top and left, cut off at the bottom and right) and its colour, both as in
    several public ports of RandAugment, which differ among themselves in the colour.

    Precede it by the weak view's crop and flip:
    ``views=dict(strong=[dict(type='RandomCropFlip', padding=4), dict(type='StrongAugment')])``, and restrict the
    batched augmentation to the weak view by ``augment=dict(_delete_=True, images=[...])``.

    Args:
        number: operations an image, >= 0.
        cutout: largest side of the square, as a share of the width, in 0..1; 0 for none.
        fill: RGB of the square, 0..255.
    """

    def __init__(self, number: int = 2, cutout: float = 0.5, fill: tuple[int, int, int] = (125, 123, 114)):
        if number < 0 or not 0 <= cutout <= 1:
            raise ValueError(f'StrongAugment needs number >= 0 and cutout in 0..1, got {number} and {cutout}.')
        self.number = number
        self.cutout = cutout
        self.fill = tuple(fill)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``(H, W, 3)`` uint8 to the same shape."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f'StrongAugment needs an RGB image (H, W, 3) uint8, got {image.shape} {image.dtype}; '
                             'for grey images set channels=3 on the data set.')
        picture = Image.fromarray(image)
        names = list(OPERATIONS)
        for choice in rng.integers(len(names), size=self.number):
            operation, low, high = OPERATIONS[names[choice]]
            picture = operation(picture, low + (high - low) * rng.random())
        result = np.array(picture)
        side = rng.random() * self.cutout * picture.width
        if side > 0:
            left = int(max(0.0, rng.random() * picture.width - side / 2))
            top = int(max(0.0, rng.random() * picture.height - side / 2))
            result[top:int(np.ceil(top + side)), left:int(np.ceil(left + side))] = self.fill
        return result
