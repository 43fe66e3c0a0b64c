"""PKT: laws, zero rows, non-finite entries."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import PKT, Batch, Progress, pkt_loss


def embeddings(count, dim, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(student, teacher, eps):
    rows = []
    for feat in (student, teacher):
        unit = [x / (x.square().sum().sqrt() + eps) for x in feat]
        similarity = [[(a @ b + 1) / 2 for b in unit] for a in unit]
        rows.append([[value / sum(row) for value in row] for row in similarity])
    return sum(t * torch.log((t + eps) / (s + eps)) for s_row, t_row in zip(*rows)
               for s, t in zip(s_row, t_row)) / len(student) ** 2


@pytest.mark.parametrize('eps', [1e-7, 1e-2])
def test_matches_a_slow_reference(eps):
    student, teacher = embeddings(5, 4), embeddings(5, 7, seed=1)
    torch.testing.assert_close(pkt_loss(student, teacher, eps=eps), slow(student, teacher, eps))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_laws(seed, scale):
    student, teacher, order = embeddings(5, 4, seed), embeddings(5, 3, seed + 1), torch.randperm(5)
    loss = pkt_loss(student, teacher)
    assert loss > -1e-9
    assert pkt_loss(teacher, teacher) == 0
    torch.testing.assert_close(pkt_loss(scale * student, teacher), loss, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(pkt_loss(student[order], teacher[order]), loss)


def test_zero_rows_have_a_finite_gradient():
    student, teacher = embeddings(4, 3), embeddings(4, 3, seed=1)
    student[1], teacher[2] = 0, 0
    student.requires_grad_()
    loss = pkt_loss(student, teacher)
    torch.testing.assert_close(loss, slow(student.detach(), teacher, 1e-7))
    loss.backward()
    assert student.grad.isfinite().all()
    assert student.grad[0].abs().sum() > 0


def test_non_finite_entries_count_as_zero():
    student, teacher = embeddings(4, 3), embeddings(4, 3, seed=1)
    student[1, 2] = float('nan')
    without = student.clone()
    without[1] = 0
    torch.testing.assert_close(pkt_loss(student, teacher), pkt_loss(without, teacher))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = (50 * embeddings(6, 512).sign()).to(dtype).requires_grad_()
    loss = pkt_loss(student, (-50 * embeddings(6, 512, seed=1).sign()).to(dtype))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class_and_a_batch_of_one():
    batch = Batch(torch.zeros(1, 3, 8, 8))
    student, teacher = embeddings(4, 3), embeddings(4, 5, seed=1)
    assert PKT()({'pooled': student}, {'pooled': teacher}, batch, Progress()) == {'pkt': pkt_loss(student, teacher)}
    one = student[:1].requires_grad_()
    loss = PKT()({'pooled': one}, {'pooled': teacher[:1]}, batch, Progress())['pkt']
    loss.backward()
    assert loss.abs() < 1e-12
    assert one.grad.abs().max() < 1e-12
    with pytest.raises(ValueError, match='got 4 and 3'):
        pkt_loss(student, teacher[:3])


def test_descent():
    student, teacher = embeddings(6, 4).requires_grad_(), embeddings(6, 7, seed=1)
    before = pkt_loss(student, teacher).item()
    for _ in range(20):
        grad, = torch.autograd.grad(pkt_loss(student, teacher), student)
        student = (student - 50 * grad).detach().requires_grad_()
    assert pkt_loss(student, teacher) < 0.8 * before
