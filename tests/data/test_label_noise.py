"""The noised label map: a look-up by class, ignored pixels, aligned images."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import draw_class_noise, label_assisted_input, noised_label

K = 5


def draws(seed, n=2, h=3, w=4):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n, h, w), generator=g)
    labels[torch.rand(n, h, w, generator=g) < 0.2] = 255
    return labels, draw_class_noise(n, K, generator=g), torch.randn(n, 1, h, w, generator=g)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.1, 200))
def test_look_up_equals_replacing_class_by_class(seed, pixel_sigma, scale):
    labels, class_noise, pixel_noise = draws(seed)
    expected = torch.zeros(2, 1, 3, 4)
    for n in range(2):
        for k in [*range(K), 255]:
            expected[n, 0][labels[n] == k] = class_noise[n, min(k, K)]
    expected = (expected + pixel_sigma * pixel_noise) * scale
    got = noised_label(labels, class_noise, pixel_noise, ignore_index=255, pixel_sigma=pixel_sigma, scale=scale)
    torch.testing.assert_close(got, expected)


def test_one_value_for_each_class_and_image():
    labels, class_noise, pixel_noise = draws(0)
    got = noised_label(labels, class_noise, pixel_noise, ignore_index=255, pixel_sigma=0.0)
    for n in range(2):
        for k in labels[n].unique():
            assert len(got[n, 0][labels[n] == k].unique()) == 1
    swapped = noised_label(labels, class_noise.flip(0), pixel_noise, ignore_index=255, pixel_sigma=0.0)
    assert not torch.equal(got, swapped), 'each image has a table of its own'


def test_images_stay_in_front_in_their_dtype():
    labels, class_noise, pixel_noise = draws(0)
    images = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    both = label_assisted_input(images, labels, class_noise, pixel_noise, ignore_index=255, scale=2.0)
    assert both.shape == (2, 4, 3, 4) and both.dtype == torch.float64
    torch.testing.assert_close(both[:, :3], images)
    expected = noised_label(labels, class_noise, pixel_noise, ignore_index=255, scale=2.0)
    torch.testing.assert_close(both[:, 3:], expected.double())


def test_ramp_is_the_released_one():
    torch.testing.assert_close(draw_class_noise(2, 21, kind='ramp'), ((torch.arange(22) - 11.0) / 10).repeat(2, 1))


def test_normal_noise_comes_from_the_generator():
    first, again = (draw_class_noise(400, K, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    torch.testing.assert_close(first, again)
    assert first.shape == (400, K + 1) and first.mean().abs() < 0.1 and (first.std() - 1).abs() < 0.1


@pytest.mark.parametrize(('change', 'message'), [
    (dict(labels=torch.full((2, 3, 4), K)), r'Labels \[5\] are outside of the 5 classes'),
    (dict(labels=torch.full((2, 3, 4), -1)), r'Labels \[-1\]'),
    (dict(class_noise=torch.zeros(3, K + 1)), r'labels \(N, H, W\)'),
    (dict(pixel_noise=torch.zeros(2, 3, 4)), r'pixel_noise \(N, 1, H, W\)'),
    (dict(images=torch.zeros(2, 3, 6, 8)), 'differ in size'),
])
def test_bad_input(change, message):
    labels, class_noise, pixel_noise = draws(0)
    options = dict(images=torch.zeros(2, 3, 3, 4), labels=labels, class_noise=class_noise, pixel_noise=pixel_noise)
    with pytest.raises(ValueError, match=message):
        label_assisted_input(**{**options, **change}, ignore_index=255)


def test_unknown_kind():
    with pytest.raises(ValueError, match="'normal' or 'ramp'"):
        draw_class_noise(1, 2, kind='uniform')
