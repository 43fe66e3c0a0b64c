"""Attention transfer: laws, sizes, bad input."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import AT, Batch, Progress, Shapes, at_loss
from zoo.registry import DISTILLERS

BATCH = Batch(torch.zeros(2, 3, 8, 8))


def maps(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def slow(student, teacher, p):
    """One image and one pair at a time."""
    total = 0
    for s, t in zip(student, teacher):
        rows = []
        for feat in (s, t):
            energy = torch.stack([sum(channel**p for channel in image) / len(image) for image in feat]).flatten(1)
            rows.append(torch.stack([row / max(row.pow(2).sum().sqrt().item(), 1e-12) for row in energy]))
        total += ((rows[0] - rows[1]) ** 2).sum() / rows[0].numel()
    return total


@pytest.mark.parametrize('p', [1, 2, 3, 4])
def test_matches_a_slow_reference(p):
    student, teacher = maps((3, 4, 5, 6), (3, 2, 3, 3)), maps((3, 7, 5, 6), (3, 5, 3, 3), seed=1)
    torch.testing.assert_close(at_loss(student, teacher, p=p), slow(student, teacher, p))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_laws(seed, scale):
    student, teacher = maps((3, 4, 4, 4), seed=seed), maps((3, 5, 4, 4), seed=seed + 1)
    loss = at_loss(student, teacher)
    assert loss >= 0
    assert at_loss(teacher, teacher) == 0
    torch.testing.assert_close(at_loss([scale * student[0]], teacher), loss)
    torch.testing.assert_close(at_loss([student[0].flip(0)], [teacher[0].flip(0)]), loss)
    torch.testing.assert_close(at_loss([student[0][:, [2, 0, 3, 1]]], teacher), loss)


@pytest.mark.parametrize(('student_size', 'teacher_size', 'common'), [
    ((8, 8), (4, 4), (4, 4)), ((4, 4), (8, 8), (4, 4)), ((8, 6), (4, 3), (4, 3)), ((4, 6), (4, 3), (4, 3))])
def test_the_larger_map_is_pooled(student_size, teacher_size, common):
    student, teacher = maps((2, 3, *student_size)), maps((2, 5, *teacher_size), seed=1)
    pooled = [[torch.nn.functional.adaptive_avg_pool2d(f, common) for f in side] for side in (student, teacher)]
    torch.testing.assert_close(at_loss(student, teacher), at_loss(*pooled))


def test_zero_map_has_finite_value_and_gradient():
    student = [torch.zeros(2, 3, 4, 4, requires_grad=True)]
    at_loss(student, maps((2, 3, 4, 4))).backward()
    assert student[0].grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = [(50 * torch.randn(2, 64, 8, 8).sign()).to(dtype).requires_grad_()]
    loss = at_loss(student, [torch.full((2, 64, 8, 8), -50.0, dtype=dtype)], p=4)
    loss.backward()
    assert loss.isfinite()
    assert student[0].grad.isfinite().all()


def test_class_with_stages_and_with_named_taps():
    student, teacher = maps((2, 3, 8, 8), (2, 6, 4, 4)), maps((2, 5, 4, 4), (2, 9, 4, 4), seed=1)
    expected = at_loss(student, teacher)
    distiller = DISTILLERS.build({'type': 'AT'})
    distiller.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [t.shape for t in teacher]}))
    assert distiller({'stages': student}, {'stages': teacher}, BATCH, Progress())['at'] == expected
    named = AT(student_layers=('layer1', 'layer2'), teacher_layers=['blocks'])
    taps = dict(zip(('layer1', 'layer2'), student))
    named.build(Shapes({name: s.shape for name, s in taps.items()}, {'blocks': [t.shape for t in teacher]}))
    assert named(taps, {'blocks': teacher}, BATCH, Progress())['at'] == expected


def test_bad_input_is_refused_at_build():
    with pytest.raises(ValueError, match='got 2 and 3'):
        AT().build(Shapes({'stages': [torch.Size((1, 3, 4, 4))] * 2}, {'stages': [torch.Size((1, 3, 4, 4))] * 3}))
    with pytest.raises(ValueError, match='feature maps'):
        AT('2', 'pooled', 'pooled').build(Shapes({'pooled': torch.Size((1, 3))}, {'pooled': torch.Size((1, 3))}))
    with pytest.raises(ValueError, match='got 0 and 0'):
        at_loss([], [])


def test_descent():
    student, teacher = [m.requires_grad_() for m in maps((4, 3, 4, 4))], maps((4, 3, 4, 4), seed=1)
    losses = []
    for _ in range(10):
        loss = at_loss(student, teacher)
        grad, = torch.autograd.grad(loss, student)
        with torch.no_grad():
            student[0] -= 100 * grad
        losses.append(loss.item())
    assert losses[-1] < losses[0]
