import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

ops = pytest.importorskip('mmcv.ops')


def iou(a, b, offset=0):
    """Of two boxes, number by number."""
    wide = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    union = sum(areas) - wide * high
    return wide * high / union if union else 0.


def greedy(boxes, scores, threshold, offset=0):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def some_boxes(n=30, seed=0, size=20., dtype=torch.float32):
    rng = np.random.default_rng(seed)
    corner, extent = rng.uniform(0, size, (n, 2)), rng.uniform(1, size, (n, 2))
    return (torch.tensor(np.concatenate([corner, corner + extent], 1), dtype=dtype),
            torch.tensor(rng.permutation(n) / n + 0.01, dtype=dtype))


@st.composite
def scenes(draw):
    n = draw(st.integers(1, 12))
    corner = st.tuples(*[st.integers(0, 12)] * 2)
    extent = st.tuples(*[st.integers(1, 10)] * 2)
    rows = [(x, y, x + w, y + h) for (x, y), (w, h) in draw(st.lists(st.tuples(corner, extent), min_size=n, max_size=n))]
    scores = draw(st.permutations(range(1, n + 1)))
    return torch.tensor(rows, dtype=torch.float64), torch.tensor(scores, dtype=torch.float64) / n


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_nms_is_the_greedy_choice(offset, dtype):
    boxes, scores = some_boxes(dtype=dtype)
    dets, kept = ops.nms(boxes, scores, 0.4, offset=offset)
    assert kept.tolist() == greedy(boxes.tolist(), scores.tolist(), 0.4, offset)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])
    assert 1 < len(kept) < len(boxes)


def test_nms_options():
    boxes, scores = some_boxes()
    whole = ops.nms(boxes, scores, 0.4)[1]
    assert ops.nms(boxes, scores, 0.4, max_num=3)[1].tolist() == whole[:3].tolist()
    kept = ops.nms(boxes, scores, 0.4, score_threshold=0.5)[1]
    assert kept.tolist() == [i for i in whole.tolist() if scores[i] > 0.5]
    dets, kept = ops.nms(boxes.numpy(), scores.numpy(), 0.4)
    assert isinstance(dets, np.ndarray) and kept.tolist() == whole.tolist()
    dets, kept = ops.nms(boxes[:0], scores[:0], 0.4)
    assert dets.shape == (0, 5) and kept.dtype == torch.int64
    assert ops.nms(boxes.half(), scores.half(), 0.4)[0].dtype == torch.float16


def test_nms_compares_with_a_float32_threshold():
    # IoU 3/5; the float32 nearest to 0.6 is above it in float64
    boxes = torch.tensor([[0., 0., 4., 1.], [1., 0., 5., 1.]])
    assert len(ops.nms(boxes, torch.tensor([.9, .8]), 0.6)[1]) == 2


@given(scenes(), st.floats(0.05, 0.95))
def test_nms_laws(scene, threshold):
    boxes, scores = scene
    dets, kept = ops.nms(boxes, scores, threshold)
    assert kept[0] == scores.argmax() and (dets[1:, 4] <= dets[:-1, 4]).all()
    for i in range(len(boxes)):
        over = [k for k in kept.tolist() if k != i and iou(boxes[i].tolist(), boxes[k].tolist()) > threshold + 1e-9]
        assert (i not in kept.tolist()) or not over
        if i not in kept.tolist():
            assert any(scores[k] > scores[i] and iou(boxes[i].tolist(), boxes[k].tolist()) > threshold - 1e-9
                       for k in kept.tolist())
    again = ops.nms(dets[:, :4], dets[:, 4], threshold)
    assert torch.equal(again[0], dets)


def soft_reference(boxes, scores, threshold, sigma, minimum, method, offset):
    left, result = dict(enumerate(scores)), []
    while left:
        best = max(left, key=left.get)
        score = left.pop(best)
        result.append((best, score))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                left[i] *= np.exp(-overlap ** 2 / sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap if method == 'linear' else 0
            if left[i] < minimum:
                del left[i]
    return result


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, offset):
    boxes, scores = some_boxes(dtype=torch.float64)
    dets, kept = ops.soft_nms(boxes, scores, 0.3, sigma=0.4, min_score=0.05, method=method, offset=offset)
    expected = soft_reference(boxes.tolist(), scores.tolist(), 0.3, 0.4, 0.05, method, offset)
    assert kept.tolist() == [i for i, _ in expected] and 1 < len(kept) < len(boxes)
    torch.testing.assert_close(dets[:, 4], torch.tensor([s for _, s in expected], dtype=torch.float64))
    assert torch.equal(dets[:, :4], boxes[kept])


@given(scenes(), st.sampled_from(['naive', 'linear', 'gaussian']), st.floats(0.05, 0.95))
def test_soft_nms_laws(scene, method, threshold):
    boxes, scores = scene
    dets, kept = ops.soft_nms(boxes, scores, threshold, sigma=0.5, min_score=1e-3, method=method)
    assert kept[0] == scores.argmax() and dets[0, 4] == scores.max()
    assert len(set(kept.tolist())) == len(kept)
    assert (dets[:, 4] <= scores[kept]).all() and (dets[1:, 4] <= dets[:-1, 4]).all()
    if method != 'naive':  # what no other kept box reaches keeps its score
        for score, i in zip(dets[:, 4].tolist(), kept.tolist(), strict=True):
            others = [iou(boxes[i].tolist(), boxes[k].tolist()) for k in kept.tolist() if k != i]
            if all(o == 0 or (method == 'linear' and o < threshold - 1e-9) for o in others):
                assert score == pytest.approx(scores[i].item())


def test_soft_nms_of_nothing():
    dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and len(kept) == 0


def test_naive_soft_nms_is_nms():
    boxes, scores = some_boxes()
    assert ops.soft_nms(boxes, scores, 0.4, method='naive')[1].tolist() == ops.nms(boxes, scores, 0.4)[1].tolist()


@pytest.mark.parametrize('kind', [dict(type='nms', iou_threshold=0.5), dict(type='nms', iou_threshold=0.5, split_thr=5),
                                  dict(type='soft_nms', iou_threshold=0.5, method='gaussian', min_score=0.1)])
def test_batched_nms_keeps_classes_apart(kind):
    boxes, scores = some_boxes(40, seed=1, dtype=torch.float64)
    labels = torch.arange(40) % 3
    dets, kept = ops.batched_nms(boxes, scores, labels, kind)
    alone = {key: value for key, value in kind.items() if key not in ('type', 'split_thr')}
    rows = []
    for label in range(3):
        mine = (labels == label).nonzero()[:, 0]
        found, chosen = getattr(ops, kind['type'])(boxes[mine], scores[mine], **alone)
        rows += [(score, index) for score, index in zip(found[:, 4].tolist(), mine[chosen].tolist(), strict=True)]
    rows.sort(reverse=True)
    assert kept.tolist() == [index for _, index in rows]
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for score, _ in rows], dtype=torch.float64))
    assert torch.equal(dets[:, :4], boxes[kept])


def test_batched_nms_switches():
    boxes, scores = some_boxes()
    labels = torch.arange(30) % 3
    assert (ops.batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5, class_agnostic=True))[1].tolist()
            == ops.nms(boxes, scores, 0.5)[1].tolist())
    dets, order = ops.batched_nms(boxes, scores, labels, None)
    assert order.tolist() == scores.argsort(descending=True).tolist() and len(dets) == 30
    limited = ops.batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5, max_num=4, split_thr=5))[0]
    assert len(limited) == 4


def test_nms_match_groups():
    boxes, scores = some_boxes(seed=2)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    assert [g[0].item() for g in groups] == greedy(boxes.tolist(), scores.tolist(), 0.4)
    assert sorted(torch.cat(groups).tolist()) == list(range(30))
    for group in groups:
        assert (scores[group].diff() <= 0).all()
        assert all(iou(boxes[group[0]].tolist(), boxes[i].tolist()) >= 0.4 for i in group[1:])
    assert isinstance(ops.nms_match(np.array([[0, 0, 1, 1, .5]], np.float32), 0.4)[0], np.ndarray)
    assert ops.nms_match(torch.zeros(0, 5), 0.4) == []


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
def test_bbox_overlaps(mode, offset):
    first, second = some_boxes(6, 3)[0], some_boxes(6, 4)[0]

    def value(a, b):
        overlap = iou(a, b, offset)
        if mode == 'iou':
            return overlap
        areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
        return overlap * sum(areas) / (1 + overlap) / areas[0]

    table = torch.tensor([[value(a, b) for b in second.tolist()] for a in first.tolist()])
    torch.testing.assert_close(ops.bbox_overlaps(first, second, mode=mode, offset=offset), table)
    torch.testing.assert_close(ops.bbox_overlaps(first, second, mode=mode, aligned=True, offset=offset), table.diag())
    assert ops.bbox_overlaps(first[:0], second).shape == (0, 6)
