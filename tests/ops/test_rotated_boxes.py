import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

ops = pytest.importorskip('mmcv.ops')
shapely = pytest.importorskip('shapely.geometry')
affinity = pytest.importorskip('shapely.affinity')
D = torch.float64

boxes = st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 8), st.floats(0.1, 8), st.floats(-4, 4))


def polygon(box):
    x, y, w, h, angle = box
    return affinity.rotate(shapely.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2), angle, 'center', use_radians=True)


def overlap(a, b, mode='iou'):
    a, b = polygon(a), polygon(b)
    common = a.intersection(b).area
    return common / (a.area + b.area - common if mode == 'iou' else a.area)


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, min_size=1, max_size=4), st.sampled_from(['iou', 'iof']))
def test_overlap_is_shapelys(first, second, mode):
    found = ops.box_iou_rotated(torch.tensor(first, dtype=D), torch.tensor(second, dtype=D), mode)
    expected = torch.tensor([[overlap(a, b, mode) for b in second] for a in first], dtype=D)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@given(boxes)
def test_a_box_meets_itself_whole(box):
    one = torch.tensor([box], dtype=D)
    turned = one + torch.tensor([0, 0, 0, 0, math.pi], dtype=D)
    assert ops.box_iou_rotated(one, one).item() == pytest.approx(1, abs=1e-6)
    assert ops.box_iou_rotated(one, turned, aligned=True).item() == pytest.approx(1, abs=1e-6)


def test_upright_boxes_far_from_the_origin():
    a = torch.tensor([[1000., 2000., 10., 20., 0.], [1000., 2000., 10., 20., math.pi / 2]])
    b = torch.tensor([[1005., 2000., 10., 20., 0.]])
    torch.testing.assert_close(ops.box_iou_rotated(a, b), torch.tensor([[1 / 3], [100 / 300]]), atol=1e-3, rtol=1e-3)
    assert ops.box_iou_rotated(a[:0], b).shape == (0, 1)


def test_nms_rotated():
    torch.manual_seed(0)
    dets = torch.cat([torch.rand(20, 2) * 10, torch.rand(20, 2) * 6 + 1, torch.rand(20, 1) * 6], 1).double()
    scores, labels = torch.randperm(20).double() / 20, torch.arange(20) % 2
    for same in (None, labels):
        kept = []
        for i in scores.argsort(descending=True).tolist():
            rivals = [k for k in kept if same is None or same[k] == same[i]]
            if all(overlap(dets[i].tolist(), dets[k].tolist()) <= 0.3 for k in rivals):
                kept.append(i)
        rows, found = ops.nms_rotated(dets, scores, 0.3, same)
        assert found.tolist() == kept and 1 < len(kept) < 20
        torch.testing.assert_close(rows, torch.cat([dets, scores[:, None]], 1)[kept])
