import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import imitation_region, ld_gfl_loss, ld_loss, vlr_region


@settings(max_examples=20)
@given(seed=st.integers(0, 999), temperature=st.floats(1, 10))
def test_laws(seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64) * 3
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    q, p = ((x / temperature).softmax(1) for x in (teacher, student))
    rows = (q * (q.log() - p.log())).mean(1) * temperature**2
    torch.testing.assert_close(ld_loss(student, teacher, temperature=temperature), rows.mean())
    torch.testing.assert_close(ld_loss(student, teacher, weights, temperature=temperature, avg_factor=4.0),
                               (rows * weights).sum() / 4)
    torch.testing.assert_close(ld_loss(student + 3, teacher - 2, temperature=temperature), rows.mean())
    assert ld_loss(teacher, teacher, temperature=temperature).abs() < 1e-12


def slow_region(anchors, gts, levels, topk, low):
    """Box by box and anchor by anchor."""
    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    values = [0.0] * len(anchors)
    for gt in gts.tolist():
        iou, penalised, distance = [], [], []
        for a in anchors.tolist():
            overlap = area([max(a[0], gt[0]), max(a[1], gt[1]), min(a[2], gt[2]), min(a[3], gt[3])]) \
                if min(a[2], gt[2]) > max(a[0], gt[0]) and min(a[3], gt[3]) > max(a[1], gt[1]) else 0.0
            iou.append(overlap / (area(a) + area(gt) - overlap))
            distance.append(((a[0] + a[2] - gt[0] - gt[2])**2 + (a[1] + a[3] - gt[1] - gt[3])**2) / 4)
            diagonal = (max(a[2], gt[2]) - min(a[0], gt[0]))**2 + (max(a[3], gt[3]) - min(a[1], gt[1]))**2
            penalised.append(overlap / area(a) - distance[-1] / diagonal)
        start, candidates = 0, []
        for count in levels:
            near = sorted(range(start, start + count), key=lambda i: distance[i])[:topk]
            candidates += [iou[i] for i in near]
            start += count
        mean = sum(candidates) / len(candidates)
        threshold = mean + (sum((c - mean)**2 for c in candidates) / (len(candidates) - 1))**0.5
        for i in range(len(anchors)):
            if low * threshold <= penalised[i] < threshold:
                values[i] = max(values[i], iou[i])
    return torch.tensor(values, dtype=anchors.dtype)


@pytest.mark.parametrize(('topk', 'low'), [(9, 0.25), (3, 0.5)])
def test_region_against_loops(topk, low):
    generator = torch.Generator().manual_seed(1)
    levels, anchors = [36, 9, 4], []
    for count, stride in zip(levels, (8, 16, 24)):
        side = int(count**0.5)
        grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing='xy'), -1).reshape(-1, 2) * stride
        anchors.append(torch.cat([grid - 2.0 * stride, grid + 2.0 * stride], 1))
    anchors = torch.cat(anchors).double() + torch.rand(49, 1, generator=generator, dtype=torch.float64) * 0.1
    gts = torch.tensor([[3.3, 5.1, 30.2, 28.7], [11.0, 2.0, 43.0, 47.5]], dtype=torch.float64)
    region = vlr_region(anchors, gts, num_level_anchors=levels, topk=topk, low=low)
    assert 0 < (region > 0).sum() < 49
    torch.testing.assert_close(region, slow_region(anchors, gts, levels, topk, low))
    torch.testing.assert_close(vlr_region(anchors, gts.flip(0), num_level_anchors=levels, topk=topk, low=low), region)


def test_regions_without_boxes_or_anchors():
    anchors = torch.tensor([[0.0, 0, 8, 8], [4, 0, 12, 8]])
    assert vlr_region(anchors, torch.zeros(0, 4), num_level_anchors=[2]).tolist() == [0, 0]
    assert vlr_region(anchors[:0], anchors, num_level_anchors=[0]).shape == (0,)
    assert vlr_region(anchors, anchors[:1], num_level_anchors=[2, 0]).isfinite().all()
    assert not imitation_region(anchors, torch.zeros(0, 4)).any()
    assert imitation_region(anchors, torch.tensor([[0.0, 0, 9, 8]])).tolist() == [True, False]
    with pytest.raises(ValueError, match='3'):
        vlr_region(anchors, anchors, num_level_anchors=[3])


def test_levels_without_places_keep_the_graph():
    torch.manual_seed(0)
    bins, logits = torch.randn(1, 36, 2, 2, requires_grad=True), torch.randn(1, 3, 2, 2, requires_grad=True)
    terms = ld_gfl_loss(bins, torch.randn(1, 36, 2, 2), logits, torch.randn(1, 3, 2, 2), torch.full((1, 4), 3),
                        torch.ones(1, 4), torch.zeros(1, 4), reg_max=8)
    sum(terms.values()).backward()
    assert all(value == 0 for value in terms.values()) and not bins.grad.any() and not logits.grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    x = torch.full((2, 9), 50.0, dtype=dtype)
    x[:, 0] = -50
    assert ld_loss(x, -x, temperature=1.0).isfinite()


def test_terms_of_the_detector():
    """Switched off they are left out; the valuable region counts anchors inside the image only."""
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, distiller_terms, pair
    full, alone = (pair(dict(type='LD', **options)) for options in ({}, dict(vlr_weight=0, kd_weight=0)))
    data = batch()
    terms = distiller_terms(full, data)
    assert set(terms) == {'ld', 'ld.ld_vlr', 'ld.kd'} and all(value > 0 for value in terms.values())
    only = distiller_terms(alone, data)
    assert set(only) == {'ld'}
    torch.testing.assert_close(only['ld'], terms['ld'])
    for sample in data['data_samples']:  # the right half of the images becomes padding
        sample.set_metainfo(dict(img_shape=(64, 32), pad_shape=(64, 32)))
        sample.gt_instances.bboxes[:, 2].clamp_(max=32)
    head = full.distillers['ld'].head
    scores = full.student_reader(data['inputs'], ['head.cls_scores'])['head.cls_scores']
    kept = head.inside(scores, data['data_samples'][0].metainfo)
    assert kept[:64].reshape(8, 8)[:, :4].all() and not kept[:64].reshape(8, 8)[:, 4:].any()
    assert all(value.isfinite() for value in distiller_terms(full, data).values())
