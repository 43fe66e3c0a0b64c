"""SP: laws, shapes, a batch of one."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import SP, Batch, Progress, Shapes, sp_loss

BATCH = Batch(torch.zeros(2, 3, 8, 8))


def feats(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(student, teacher):
    total = 0
    for s, t in zip(student, teacher):
        rows = []
        for feat in (s, t):
            gram = torch.tensor([[(a * b).sum().item() for b in feat] for a in feat], dtype=torch.float64)
            rows.append([row / max(row.norm().item(), 1e-12) for row in gram])
        total += sum(((a - b) ** 2).sum() for a, b in zip(*rows)) / len(s) ** 2
    return total


def test_matches_a_slow_reference_on_features_of_any_shape():
    student, teacher = [feats(4, 3, 5, 5), feats(4, 6)], [feats(4, 8, 2, 2, seed=1), feats(4, 7, 3, seed=2)]
    torch.testing.assert_close(sp_loss(student, teacher), slow(student, teacher))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_laws(seed, scale):
    student, teacher, order = feats(5, 4, seed=seed), feats(5, 3, seed=seed + 1), torch.randperm(5)
    loss = sp_loss([student], [teacher])
    rotation = torch.linalg.qr(feats(4, 4, seed=seed + 2)).Q
    assert sp_loss([teacher], [teacher]) == 0
    torch.testing.assert_close(sp_loss([-scale * student @ rotation], [teacher]), loss)
    torch.testing.assert_close(sp_loss([student[order]], [teacher[order]]), loss)


def test_a_batch_of_one_gives_zero_and_keeps_the_graph():
    student = feats(1, 3, 4, 4).requires_grad_()
    loss = SP()({'stages.-1': student}, {'stages.-1': feats(1, 5, 2, 2)}, BATCH, Progress())['sp']
    loss.backward()
    assert loss.shape == ()
    assert loss == 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = (50 * feats(4, 64, 4, 4).sign()).to(dtype).requires_grad_()
    loss = sp_loss([student], [(-50 * feats(4, 64, 4, 4, seed=1).sign()).to(dtype)])
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class():
    student, teacher = [feats(4, 3, 4, 4), feats(4, 3, 2, 2)], [feats(4, 5, 4, 4, seed=1), feats(4, 5, 4, 4, seed=2)]
    distiller = SP(('stages',), ('a', 'b'))
    shapes = {'stages': [s.shape for s in student]}, {'a': teacher[0].shape, 'b': teacher[1].shape}
    distiller.build(Shapes(*shapes))
    terms = distiller({'stages': student}, dict(zip('ab', teacher)), BATCH, Progress())
    assert terms == {'sp': sp_loss(student, teacher)}
    with pytest.raises(ValueError, match='got 2 and 1'):
        SP('stages', 'a').build(Shapes(*shapes))


def test_descent():
    student, teacher = feats(6, 4).requires_grad_(), [feats(6, 7, seed=1)]
    before = sp_loss([student], teacher).item()
    for _ in range(20):
        grad, = torch.autograd.grad(sp_loss([student], teacher), student)
        student = (student - 2 * grad).detach().requires_grad_()
    assert sp_loss([student], teacher) < 0.8 * before
