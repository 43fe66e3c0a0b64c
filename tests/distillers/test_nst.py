"""NST: the polynomial kernel spelled out, laws, sizes."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import NST, Batch, Progress, Shapes, nst_loss


def maps(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def slow(student, teacher):
    total = 0
    for s, t in zip(student, teacher):
        def kernel(a, b):
            values = [(x.flatten() @ y.flatten() / (x.norm() * y.norm())) ** 2
                      for image_a, image_b in zip(a, b) for x in image_a for y in image_b]
            return sum(values) / len(values)
        total += kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
    return total


def test_matches_a_slow_reference():
    student, teacher = maps((2, 3, 4, 5), (2, 2, 3, 3)), maps((2, 4, 4, 5), (2, 5, 3, 3), seed=1)
    torch.testing.assert_close(nst_loss(student, teacher), slow(student, teacher))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_laws(seed, scale):
    student, teacher = maps((3, 4, 4, 4), seed=seed), maps((3, 5, 4, 4), seed=seed + 1)
    loss = nst_loss(student, teacher)
    assert nst_loss(teacher, teacher).abs() < 1e-12
    torch.testing.assert_close(nst_loss([-scale * student[0]], teacher), loss)
    torch.testing.assert_close(nst_loss([student[0][:, [2, 0, 3, 1]]], teacher), loss)
    torch.testing.assert_close(nst_loss([student[0].flip(0)], [teacher[0].flip(0)]), loss)
    assert loss > -1e-12  # a squared distance of means in the kernel's space


def test_the_larger_map_is_pooled_and_only_the_cross_term_reaches_the_teacher():
    student, teacher = maps((2, 3, 8, 8)), [m.requires_grad_() for m in maps((2, 5, 4, 4), seed=1)]
    pooled = [F.adaptive_avg_pool2d(student[0], 4)]
    loss = nst_loss(student, teacher)
    torch.testing.assert_close(loss, nst_loss(pooled, teacher))
    s, t = (F.normalize(m[0].flatten(2), dim=2) for m in (pooled, teacher))
    cross, = torch.autograd.grad(-2 * (s @ t.transpose(1, 2)).square().mean(), teacher)
    torch.testing.assert_close(torch.autograd.grad(loss, teacher)[0], cross)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_with_a_dead_channel(dtype):
    student = torch.full((2, 8, 16, 16), 50.0, dtype=dtype)
    student[:, 3] = 0
    student.requires_grad_()
    loss = nst_loss([student], [torch.full((2, 4, 16, 16), -50.0, dtype=dtype)])
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class():
    student, teacher = maps((2, 3, 8, 8), (2, 6, 4, 4)), maps((2, 5, 4, 4), (2, 9, 4, 4), seed=1)
    distiller = NST()
    distiller.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [t.shape for t in teacher]}))
    terms = distiller({'stages': student}, {'stages': teacher}, Batch(torch.zeros(2, 3, 8, 8)), Progress())
    assert terms == {'nst': nst_loss(student, teacher)}
    with pytest.raises(ValueError, match='got 2 and 1'):
        distiller.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [teacher[0].shape]}))


def test_descent():
    student, teacher = maps((3, 4, 4, 4)), maps((3, 5, 4, 4), seed=1)
    student[0].requires_grad_()
    before = nst_loss(student, teacher).item()
    for _ in range(20):
        grad, = torch.autograd.grad(nst_loss(student, teacher), student)
        with torch.no_grad():
            student[0] -= 20 * grad
    assert nst_loss(student, teacher) < 0.9 * before
