import math

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

ops = pytest.importorskip('mmcv.ops')
D = torch.float64
ROIS = torch.tensor([[0, 1.3, 2.1, 9.7, 11.2], [1, -3., -2., 6.5, 5.5], [1, 8.2, 3.4, 19., 21.], [0, 4., 4., 4.6, 5.1]],
                    dtype=D)


def maps(channels=2, seed=0, dtype=D):
    torch.manual_seed(seed)
    return torch.randn(2, channels, 9, 8, dtype=dtype)


def read(plane, y, x):
    """Bilinear value at a point, as RoIAlign defines it."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0.
    for row in {math.floor(y), min(math.floor(y) + 1, height - 1)}:
        for column in {math.floor(x), min(math.floor(x) + 1, width - 1)}:
            total += plane[row, column].item() * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def samples(roi, bins, scale, ratio, aligned):
    """For each bin its points (y, x)."""
    x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0) for v in roi[1:])
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.), max(height, 1.)
    high, wide = height / bins[0], width / bins[1]
    rows, columns = (ratio or math.ceil(high)), (ratio or math.ceil(wide))
    for p in range(bins[0]):
        for q in range(bins[1]):
            yield p, q, [(y1 + p * high + (i + .5) * high / rows, x1 + q * wide + (j + .5) * wide / columns)
                         for i in range(rows) for j in range(columns)]


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_by_hand(pool_mode, aligned, ratio):
    x = maps()
    found = ops.roi_align(x, ROIS, (2, 3), 0.5, ratio, pool_mode, aligned)
    expected = torch.zeros_like(found)
    for r, roi in enumerate(ROIS.tolist()):
        for p, q, points in samples(roi, (2, 3), 0.5, ratio, aligned):
            for c in range(2):
                values = [read(x[int(roi[0]), c], *point) for point in points]
                expected[r, c, p, q] = max(values) if pool_mode == 'max' else sum(values) / len(values)
    torch.testing.assert_close(found, expected)


@given(st.floats(1.5, 4), st.floats(1.5, 4), st.floats(1, 5), st.floats(1, 5), st.floats(-2, 2), st.floats(-2, 2))
def test_a_linear_map_is_read_at_the_bins_middles(x1, y1, width, height, across, down):
    grid = torch.arange(10, dtype=D) + 0.5
    plane = (across * grid[None, :] + down * grid[:, None])[None, None]
    roi = torch.tensor([[0, x1, y1, x1 + width, y1 + height]], dtype=D)
    found = ops.roi_align(plane, roi, (2, 2), 1., 2, 'avg', True)[0, 0]
    middles = torch.tensor([0.25, 0.75], dtype=D)
    expected = across * (x1 + width * middles[None, :]) + down * (y1 + height * middles[:, None])
    torch.testing.assert_close(found, expected)
    assert (ops.roi_align(plane, roi, (2, 2), 1., 2, 'max', True)[0, 0] >= found - 1e-9).all()


def test_roi_align_average_is_torchvisions():
    x = maps()
    torch.testing.assert_close(ops.RoIAlign((3, 2), 0.5, 2)(x, ROIS),
                               torchvision.ops.roi_align(x, ROIS, (3, 2), 0.5, 2, aligned=True))


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
def test_roi_align_gradient(pool_mode):
    x = maps(seed=1).requires_grad_()
    assert gradcheck(lambda m: ops.roi_align(m, ROIS, (2, 2), 0.5, 2, pool_mode, True), [x], fast_mode=True)
    none = ops.roi_align(x, ROIS[:0], (2, 2), 0.5, 2, pool_mode, True)
    assert none.shape == (0, 2, 2, 2) and torch.autograd.grad(none.sum(), x)[0].eq(0).all()


def test_a_region_without_area_gives_zero():
    x = maps().requires_grad_()
    point = torch.tensor([[0, 4., 4., 4., 4.]], dtype=D)
    for mode in ('avg', 'max'):
        out = ops.roi_align(x, point, (2, 2), 0.5, 0, mode, True)
        assert out.eq(0).all() and torch.autograd.grad(out.sum(), x)[0].eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_calculated_in_float32(dtype):
    x = maps(dtype=dtype).requires_grad_()
    for mode in ('avg', 'max'):
        found = ops.roi_align(x, ROIS.to(dtype), (2, 2), 0.5, 2, mode, True)
        expected = ops.roi_align(x.float(), ROIS.to(dtype).float(), (2, 2), 0.5, 2, mode, True)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype))
        assert torch.autograd.grad(found.float().sum(), x)[0].dtype == dtype
    with torch.autocast('cpu', torch.bfloat16):
        assert ops.RoIPool((2, 2), 0.5)(x, ROIS.to(dtype)).dtype == dtype


def test_roi_pool():
    x = maps().requires_grad_()
    found = ops.roi_pool(x, ROIS, (2, 2), 0.5)
    torch.testing.assert_close(found, torchvision.ops.roi_pool(x, ROIS, (2, 2), 0.5))
    assert gradcheck(lambda m: ops.roi_pool(m, ROIS, (2, 2), 0.5), [x], fast_mode=True)


@pytest.mark.parametrize('ratio', [0, 2])
def test_deform_roi_pool(ratio):
    x = maps(seed=2)
    torch.testing.assert_close(ops.deform_roi_pool(x, ROIS, None, (2, 3), 0.5, ratio, 0.1),
                               ops.roi_align(x, ROIS, (2, 3), 0.5, ratio, 'avg', True))
    # a bin moved by gamma * offset * size reads what the whole region, so moved, reads there
    offset = torch.zeros(len(ROIS), 2, 2, 3, dtype=D)
    offset[:, 0], offset[:, 1] = 1.5, -0.5
    size = ROIS[:, 3:] - ROIS[:, 1:3]
    moved = ROIS.clone()
    moved[:, 1:] += (0.1 * size * torch.tensor([1.5, -0.5], dtype=D)).repeat(1, 2)
    torch.testing.assert_close(ops.deform_roi_pool(x, ROIS, offset, (2, 3), 0.5, ratio, 0.1),
                               ops.roi_align(x, moved, (2, 3), 0.5, ratio, 'avg', True))
    offset = torch.randn(len(ROIS), 2, 2, 3, dtype=D).requires_grad_()
    assert gradcheck(lambda m, o: ops.deform_roi_pool(m, ROIS, o, (2, 3), 0.5, ratio, 0.1), [x.requires_grad_(), offset],
                     fast_mode=True)


def test_deform_roi_pool_modules():
    x = maps(dtype=torch.float32)
    for kind in (ops.DeformRoIPoolPack, ops.ModulatedDeformRoIPoolPack):
        layer = kind((2, 2), 2, deform_fc_channels=8, spatial_scale=0.5)
        out = layer(x, ROIS.float())
        assert out.shape == (4, 2, 2, 2)
        out.sum().backward()


def test_border_align():
    x = maps(8, seed=3)
    boxes = torch.tensor([[[1., 1., 6., 5.], [0., 2., 3., 8.]], [[2.5, 0., 7., 7.], [-3., -3., 4., 4.]]], dtype=D)
    found = ops.border_align(x, boxes, 5)
    for n in range(2):
        for k, (x1, y1, x2, y2) in enumerate(boxes[n].tolist()):
            for side, start, end in ((0, (y1, x1), (y1, x2)), (1, (y1, x1), (y2, x1)), (2, (y2, x2), (y2, x1)),
                                     (3, (y2, x2), (y1, x2))):
                points = [[a + (b - a) * i / 5 for a, b in zip(start, end, strict=True)] for i in range(6)]
                for c in range(2):
                    best = max(read(x[n, side * 2 + c], *point) for point in points)
                    assert found[n, c, k, side].item() == pytest.approx(best)
    assert gradcheck(lambda m: ops.border_align(m, boxes, 5), [x.requires_grad_()], fast_mode=True)


def test_point_sampling_is_mmcvs_python():
    x = maps()
    points = torch.tensor([[[.5 / 8, .5 / 9], [1.5 / 8, 2.5 / 9]]] * 2, dtype=D)  # centres of pixels (0, 0) and (2, 1)
    found = ops.point_sample(x, points)
    torch.testing.assert_close(found, torch.stack([x[:, :, 0, 0], x[:, :, 2, 1]], 2))
    assert ops.SimpleRoIAlign((2, 2), 0.5)(x.float(), ROIS.float()).shape == (4, 2, 2, 2)
