import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import Cutout, RandomCropFlip


def images_of(count=8, channels=3, height=12, width=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def crop_by_loop(images, padding, mode, fill, top, left, flips):
    out = []
    for image, y, x, flip in zip(images, top.tolist(), left.tolist(), flips.tolist()):
        kind = {'mode': 'constant', 'constant_values': fill} if mode == 'constant' else {'mode': 'reflect'}
        padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)), **kind)
        crop = padded[:, y:y + image.shape[1], x:x + image.shape[2]]
        out.append(torch.from_numpy((crop[:, :, ::-1] if flip else crop).copy()))
    return torch.stack(out)


@pytest.mark.parametrize('mode', ['constant', 'reflect'])
@pytest.mark.parametrize('fill', [0, 7])
def test_crop_flip_equals_a_loop_over_images(mode, fill):
    images = images_of(32)
    transform = RandomCropFlip(4, padding_mode=mode, fill=fill)
    top, left, flips = transform.draw(images, torch.Generator().manual_seed(3))
    assert flips.any() and not flips.all()
    expected = crop_by_loop(images, 4, mode, fill, top, left, flips)
    assert torch.equal(transform.apply(images, top, left, flips), expected)
    assert torch.equal(transform(images, torch.Generator().manual_seed(3)), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(1, 3), st.integers(4, 9), st.integers(4, 9), st.integers(0, 3),
       st.sampled_from(['constant', 'reflect']), st.booleans())
def test_crop_flip_keeps_shape_dtype_and_input(count, channels, height, width, padding, mode, floating):
    images = images_of(count, channels, height, width)
    images = images.float() if floating else images
    before = images.clone()
    out = RandomCropFlip(padding, padding_mode=mode)(images)
    assert out.shape == images.shape and out.dtype == images.dtype
    assert torch.equal(images, before)
    assert set(out.unique().tolist()) <= set(images.unique().tolist()) | {0}


def test_offsets_and_flips_are_uniform_and_independent():
    images = torch.zeros(20000, 1, 4, 4, dtype=torch.uint8)
    top, left, flips = RandomCropFlip(2).draw(images, torch.Generator().manual_seed(0))
    joint = torch.bincount(top * 10 + left * 2 + flips.long(), minlength=50)
    # 50 equal cells of 400 on average; 5 standard deviations are 99
    assert joint.numel() == 50 and int(joint.min()) > 300 and int(joint.max()) < 500


def test_generator_decides_and_global_state_is_left_alone():
    images = images_of()
    state = torch.get_rng_state()
    one, two, other = (RandomCropFlip(4)(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    first = RandomCropFlip(4)(images)
    second = RandomCropFlip(4)(images)
    torch.manual_seed(5)
    assert torch.equal(RandomCropFlip(4)(images), first) and not torch.equal(first, second)


def test_padding_zero_without_flip_is_identity():
    assert torch.equal(RandomCropFlip(0, flip=False)(images_of()), images_of())


@pytest.mark.parametrize('arguments', [{'padding': -1}, {'padding_mode': 'mirror'}])
def test_crop_flip_refuses(arguments):
    with pytest.raises(ValueError, match='padding'):
        RandomCropFlip(**arguments)


def test_crop_flip_refuses_images_and_reflection_that_do_not_fit():
    with pytest.raises(ValueError, match='batch'):
        RandomCropFlip()(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match='larger'):
        RandomCropFlip(4, padding_mode='reflect')(torch.zeros(1, 3, 4, 4))


def test_cutout_blanks_one_square_per_image():
    images = torch.full((500, 2, 9, 9), 3, dtype=torch.uint8)
    out = Cutout(3)(images, torch.Generator().manual_seed(0))
    hole = out[:, 0] == 0
    assert torch.equal(hole, out[:, 1] == 0)
    assert hole.sum((1, 2)).max() == 9 and hole.sum((1, 2)).min() >= 4
    full = hole[hole.sum((1, 2)) == 9].float()[:, None]
    assert (F.avg_pool2d(full, 3, 1).flatten(1).max(1).values == 1).all()
    assert (hole.float().mean(0) > 0).all()
    kept = (Cutout(3, probability=0.25)(images, torch.Generator().manual_seed(0)) == images).flatten(1).all(1)
    assert 0.68 < kept.float().mean() < 0.82
