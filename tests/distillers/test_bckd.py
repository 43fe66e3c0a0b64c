import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import bckd_cls_loss, bckd_gfl_loss, bckd_loc_loss, bckd_loss
from zoo.distillers.boxes import aligned_overlaps


def boxes(count, generator):
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20
    return torch.cat([corner, corner + 1 + 10 * torch.rand(count, 2, generator=generator, dtype=torch.float64)], 1)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), beta=st.sampled_from([0.0, 1.0, 2.0]))
def test_laws(seed, beta):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64) * 2
    weights = torch.rand(6, generator=generator, dtype=torch.float64)
    own, other = boxes(6, generator), boxes(6, generator)
    p, t = student.sigmoid(), teacher.sigmoid()
    slow = (-(t * p.log() + (1 - t) * (1 - p).log()) * (p - t).abs()**beta).sum(1)
    torch.testing.assert_close(bckd_cls_loss(student, teacher, beta=beta), slow.mean())
    torch.testing.assert_close(bckd_cls_loss(student, teacher, weights, beta=beta, avg_factor=3.0),
                               (slow * weights).sum() / (3 + 1.1920929e-07))
    order = torch.randperm(6, generator=generator)
    for value, permuted in ((bckd_cls_loss(student, teacher), bckd_cls_loss(student[order], teacher[order])),
                            (bckd_loc_loss(own, other), bckd_loc_loss(own[order] * 3, other[order] * 3))):
        torch.testing.assert_close(value, permuted)
    assert bckd_loc_loss(other, other) < 1e-9 <= bckd_loc_loss(own, other) <= 2
    terms = bckd_loss(teacher, teacher, own, other, weights)
    assert terms['cls'] == 0 and terms['loc'] == 0, 'without a gap between scores boxes have no weight'


def test_giou_against_torchvision():
    from torchvision.ops import generalized_box_iou
    generator = torch.Generator().manual_seed(0)
    own, other = boxes(20, generator), boxes(20, generator)
    torch.testing.assert_close(aligned_overlaps(own, other), generalized_box_iou(own, other).diagonal())
    flat = torch.tensor([[1.0, 1, 1, 1]], requires_grad=True)
    loss = bckd_loc_loss(flat, torch.tensor([[1.0, 1, 1, 1]]))
    loss.backward()
    assert loss.isfinite() and flat.grad.isfinite().all()


def test_the_gap_carries_gradient():
    student = torch.tensor([[0.5]], dtype=torch.float64, requires_grad=True)
    grad, = torch.autograd.grad(bckd_cls_loss(student, torch.tensor([[-1.0]], dtype=torch.float64)), student)
    step = 1e-6
    ends = [bckd_cls_loss(student.detach() + d, torch.tensor([[-1.0]], dtype=torch.float64)) for d in (step, -step)]
    torch.testing.assert_close(grad, ((ends[0] - ends[1]) / (2 * step)).reshape(1, 1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    logits, bins = torch.full((1, 2, 2, 2), 50.0, dtype=dtype), torch.full((1, 36, 2, 2), 50.0, dtype=dtype)
    anchors = torch.tensor([[0.0, 0, 8, 8]]).expand(1, 4, 4)
    terms = bckd_gfl_loss(logits, -logits, bins, -bins, anchors, torch.ones(1, 4), stride=8, reg_max=8, avg_factor=1.0)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())


def test_gfl_detector_sums_levels_with_positives():
    """The class against :func:`bckd_gfl_loss` on the levels that have a positive, weights 1 and 4."""
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, distiller_terms, pair
    model, data = pair(dict(type='BCKD')), batch()
    terms = distiller_terms(model, data)
    names = ('head.cls_scores', 'head.bbox_preds', 'head.targets')
    student, _ = model.student_reader.loss(data['inputs'], data['data_samples'], names)
    teacher = model.teacher_reader(data['inputs'], names[:2])
    anchors, labels, weights, *_, positives = student['head.targets']
    expected, levels = dict(cls=0.0, loc=0.0), 0
    for i, stride in enumerate((8, 16, 32, 64, 128)):
        if (labels[i] < 3).any():
            levels += 1
            part = bckd_gfl_loss(student['head.cls_scores'][i], teacher['head.cls_scores'][i], student['head.bbox_preds'][i],
                                 teacher['head.bbox_preds'][i], anchors[i], weights[i], stride=stride, avg_factor=positives,
                                 loc_weight=4.0)
            expected = {name: value + part[name] for name, value in expected.items()}
    assert 0 < levels < 5
    torch.testing.assert_close(terms, {f'bckd.{name}': value for name, value in expected.items()})


@pytest.mark.parametrize('kind', ['retina', 'fcos', 'atss'])
def test_other_detectors_decode_by_their_own_coders(kind):
    """Equal boxes and classes cost nothing; moved boxes do, where the scores differ too."""
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, detector, distiller_terms, pair
    teacher = detector(kind)
    twin = detector(kind)
    assert sum(distiller_terms(pair(dict(type='BCKD'), student=twin.eval(), teacher=teacher).eval(), batch()).values()) < 1e-6
    moved = detector(kind)
    with torch.no_grad():
        for name, bias in moved.bbox_head.named_parameters():
            if name.endswith('_cls.bias'):
                bias.add_(0.5)
            if name.endswith('_reg.bias'):
                bias.add_(0.3)
    terms = distiller_terms(pair(dict(type='BCKD'), student=moved, teacher=teacher).eval(), batch())
    assert terms['bckd.cls'] > 1e-3 and terms['bckd.loc'] > 1e-3
