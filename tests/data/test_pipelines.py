import numpy as np
import pytest
import torch

from zoo.data import ImagePipeline, ResizeShorterSide, StrongAugment
from zoo.data.strong_augment import OPERATIONS
from zoo.registry import TRANSFORMS, UnknownNameError


def image_of(height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_albumentations_by_config_is_reproducible():
    pipeline = ImagePipeline([{'type': 'A.RandomResizedCrop', 'size': (16, 16)},
                              {'type': 'A.OneOf', 'transforms': [{'type': 'A.HorizontalFlip', 'p': 1.0},
                                                                 {'type': 'A.VerticalFlip', 'p': 1.0}], 'p': 0.5},
                              {'type': 'StrongAugment'}, {'type': 'A.Transpose'}])
    assert len(pipeline) == 3
    one, again, other = (pipeline(image_of(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (16, 16, 3) and np.array_equal(one, again) and not np.array_equal(one, other)


def test_neighbouring_albumentations_draw_independently():
    pipeline = ImagePipeline([{'type': 'A.HorizontalFlip', 'p': 0.5}, {'type': 'A.VerticalFlip', 'p': 0.5}])
    image = image_of(4, 4)
    outcomes = {'none': image, 'left': image[:, ::-1], 'up': image[::-1], 'both': image[::-1, ::-1]}
    seen = []
    for seed in range(200):
        out = pipeline(image, np.random.default_rng(seed))
        seen += [name for name, expected in outcomes.items() if np.array_equal(out, expected)]
    # one seed for both, as A.Compose(seed=...) gives, would never show 'left' or 'up'
    assert len(seen) == 200 and all(25 < seen.count(name) < 80 for name in outcomes)


@pytest.mark.parametrize('entry, error, message', [
    ({'type': 'A.HorizontlFlip'}, UnknownNameError, 'HorizontalFlip'),
    ({'type': 'A.HorizontalFlip', 'probability': 1}, ValueError, 'argument'),
    ({'type': 'A.RandomResizedCrop', 'size': 'big'}, ValueError, r'A\.RandomResizedCrop cannot be built'),
    ({'p': 1}, ValueError, 'needs a type'),
    ({'type': 'NoSuchTransform'}, UnknownNameError, 'NoSuchTransform'),
])
def test_bad_entries(entry, error, message):
    with pytest.raises(error, match=message):
        ImagePipeline([entry])


def test_a_pipeline_is_a_list():
    with pytest.raises(ValueError, match='list'):
        ImagePipeline({'type': 'StrongAugment'})
    assert not ImagePipeline([])


def test_transforms_are_registered():
    for name in ('RandomCropFlip', 'Cutout', 'StrongAugment', 'Albumentations', 'ResizeShorterSide'):
        assert TRANSFORMS.get(name).__name__ == name


@pytest.mark.parametrize('height, width', [(40, 60), (60, 40), (50, 50), (33, 97)])
def test_resize_is_torchvisions(height, width):
    from PIL import Image
    from torchvision.transforms import Resize

    image = image_of(height, width)
    assert np.array_equal(ResizeShorterSide(16)(image), np.asarray(Resize(16)(Image.fromarray(image))))


def test_strong_augment_draws_every_operation_with_replacement(monkeypatch):
    used = []

    def counted(name, operation):
        def apply(image, value):
            low, high = OPERATIONS_BEFORE[name][1:]
            assert low <= value <= high
            used.append(name)
            return operation(image, value)
        return apply

    OPERATIONS_BEFORE = dict(OPERATIONS)
    for name, (operation, low, high) in OPERATIONS_BEFORE.items():
        monkeypatch.setitem(OPERATIONS, name, (counted(name, operation), low, high))
    transform = StrongAugment()
    for seed in range(400):
        out = transform(image_of(), np.random.default_rng(seed))
        assert out.shape == (32, 32, 3) and out.dtype == np.uint8
    assert len(OPERATIONS) == 14 and len(used) == 800
    # 800 / 14 = 57 each; 4 standard deviations are 29
    assert all(28 < used.count(name) < 87 for name in OPERATIONS_BEFORE)
    assert any(used[k] == used[k + 1] for k in range(0, 800, 2))


def test_strong_augment_operations_by_hand():
    from PIL import Image

    picture = Image.fromarray(image_of())
    pixels = np.asarray(picture)
    translated = np.asarray(OPERATIONS['TranslateX'][0](picture, 0.25))
    assert np.array_equal(translated[:, :24], pixels[:, 8:]) and (translated[:, 24:] == 0).all()
    translated = np.asarray(OPERATIONS['TranslateY'][0](picture, -0.25))
    assert np.array_equal(translated[8:], pixels[:24]) and (translated[:8] == 0).all()
    solarized = np.asarray(OPERATIONS['Solarize'][0](picture, 100.0))
    assert np.array_equal(solarized, np.where(pixels < 100, pixels, 255 - pixels))
    assert np.array_equal(np.asarray(OPERATIONS['Posterize'][0](picture, 4.9)), pixels & 0xF0)
    assert np.array_equal(np.asarray(OPERATIONS['Identity'][0](picture, 0.3)), pixels)


def test_strong_augment_cuts_at_most_half_a_side():
    black = np.zeros((32, 32, 3), np.uint8)
    sides = []
    for seed in range(200):
        out = StrongAugment(number=0, fill=(1, 2, 3))(black, np.random.default_rng(seed))
        rows, columns = (out[:, :, 0] == 1).nonzero()
        assert (out[rows, columns] == (1, 2, 3)).all()
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        sides.append(max(height, width))
    assert max(sides) in (16, 17) and min(sides) <= 2
    assert np.array_equal(StrongAugment(0, cutout=0)(black, np.random.default_rng(0)), black)


def test_strong_augment_refuses_grey_images():
    with pytest.raises(ValueError, match='RGB'):
        StrongAugment()(np.zeros((8, 8, 1), np.uint8), np.random.default_rng(0))
    with pytest.raises(ValueError, match='cutout'):
        StrongAugment(cutout=2)


def test_batched_transform_in_a_pipeline_equals_the_batch_of_one():
    pipeline = ImagePipeline([{'type': 'RandomCropFlip', 'padding': 4}])
    image = image_of()
    out = pipeline(image, np.random.default_rng(0))
    assert out.shape == image.shape and out.flags.c_contiguous
    generator = torch.Generator().manual_seed(int(np.random.default_rng(0).integers(2**63)))
    expected = TRANSFORMS.build({'type': 'RandomCropFlip'})(torch.from_numpy(image).permute(2, 0, 1)[None], generator)
    assert np.array_equal(out, expected[0].permute(1, 2, 0).numpy())
