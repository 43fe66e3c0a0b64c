import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import CrossKD, crosskd_align_scale, crosskd_box_loss, crosskd_cls_loss, crosskd_gfl_loss

KINDS = ['gfl', 'retina', 'fcos', 'fcos_strides', 'atss']


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_aligned_maps_have_the_teachers_statistics(seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, 4, 5, 2, generator=generator, dtype=torch.float64)
    aligned = crosskd_align_scale(student * 7 - 3, teacher, eps=0.0)
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(aligned, (0, 2, 3)), statistic(teacher, (0, 2, 3)))
    torch.testing.assert_close(crosskd_align_scale(teacher, teacher, eps=0.0), teacher)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), beta=st.sampled_from([1.0, 2.0]))
def test_losses_against_their_formulas(seed, beta):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    weights = (torch.rand(6, generator=generator, dtype=torch.float64) > 0.3) * 1.0
    p, t = student.sigmoid(), teacher.sigmoid()
    slow = -(t * p.log() + (1 - t) * (1 - p).log()) * (p - t).abs()**beta
    torch.testing.assert_close(crosskd_cls_loss(student, teacher, beta=beta), slow.mean())
    torch.testing.assert_close(crosskd_cls_loss(student, teacher, weights, beta=beta, avg_factor=2.0),
                               (slow * weights[:, None]).sum() / (2 + 1.1920929e-07))
    corner = torch.rand(2, 6, 2, generator=generator, dtype=torch.float64) * 4
    own, other = torch.cat([corner, corner + 3], 2)
    from torchvision.ops import box_iou
    expected = -box_iou(own, other).diagonal().clamp(min=1e-6).log() * t.amax(1) * weights
    torch.testing.assert_close(crosskd_box_loss(own, other, teacher, weights, mode='iou', avg_factor=2.0),
                               expected.sum() / (2 + 1.1920929e-07))


def test_nothing_to_learn():
    """All label weights 0: zero, with a graph."""
    logits, bins = torch.randn(1, 3, 2, 2, requires_grad=True), torch.randn(1, 20, 2, 2, requires_grad=True)
    terms = crosskd_gfl_loss([logits], [torch.randn(1, 3, 2, 2)], [bins], [torch.randn(1, 20, 2, 2)], [torch.zeros(1, 4)],
                             reg_max=4, avg_factor=1.0)
    sum(terms.values()).backward()
    assert all(value == 0 for value in terms.values()) and not bins.grad.any()
    with pytest.raises(ValueError, match="'giou' or 'iou'"):
        crosskd_box_loss(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 1), mode='diou', avg_factor=1.0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    logits, bins = torch.full((1, 2, 2, 2), 50.0, dtype=dtype), torch.full((1, 20, 2, 2), 50.0, dtype=dtype)
    bins[:, ::5] = -50
    terms = crosskd_gfl_loss([logits], [-logits], [bins], [-bins], [torch.ones(1, 4)], reg_max=4, avg_factor=1.0)
    assert all(value.isfinite() for value in terms.values())
    with pytest.raises(ValueError, match='from 0'):
        CrossKD(cut=-1)


@pytest.mark.parametrize('cut', [0, 1, 2])
@pytest.mark.parametrize('kind', KINDS)
def test_the_teachers_maps_give_the_teachers_predictions(kind, cut):
    """Through the rest of the teacher's head, for each kind of head and each cut."""
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, detector, pair
    model, data = pair(dict(type='CrossKD', cut=cut), teacher=detector(kind), student=detector(kind)), batch()
    distiller = model.distillers['crosskd']
    taps = model.teacher_reader(data['inputs'], distiller.needs.teacher)
    scores, boxes, centers = distiller._cross(taps, taps)
    # the alignment divides by a deviation plus 1e-6
    torch.testing.assert_close(scores, taps['head.cls_scores'], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(boxes, taps['head.bbox_preds'], rtol=1e-3, atol=1e-3)
    if kind == 'atss':
        torch.testing.assert_close(centers, taps['head.centernesses'], rtol=1e-3, atol=1e-3)


def test_gradient_passes_the_frozen_head_and_stops_there():
    """To the student's layers in front of the cut, not to those behind it, nor to the teacher."""
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, distiller_terms, pair
    model = pair(dict(type='CrossKD', cut=1))
    sum(distiller_terms(model, batch()).values()).backward()
    head = model.student.bbox_head
    assert all(tower[0].conv.weight.grad.abs().sum() > 0 for tower in (head.cls_convs, head.reg_convs))
    assert all(tower[1].conv.weight.grad is None for tower in (head.cls_convs, head.reg_convs))
    assert head.gfl_cls.weight.grad is None
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())


def test_held_maps_are_those_before_the_activation():
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, pair
    model, data = pair(dict(type='CrossKD', cut=1)), batch()
    name = model.distillers['crosskd'].held[0]
    held = model.student_reader(data['inputs'], [name, 'neck'])
    expected = [model.student.bbox_head.cls_convs[0](x, activate=False) for x in held['neck']]
    torch.testing.assert_close(held[name], expected)
    assert all((x < 0).any() for x in held[name])
