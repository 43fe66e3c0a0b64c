from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, Progress, Shapes, WCoRD, wcord_global_loss, wcord_local_loss, wcord_sinkhorn

LABELS = torch.arange(24) % 4


def built(**options):
    torch.manual_seed(0)
    distiller = WCoRD(**{**dict(embedding_dim=6, num_negatives=5), **options})
    distiller.build(Shapes({'pooled': torch.Size((2, 7))}, {'pooled': torch.Size((2, 9))}))
    distiller.prepare(SimpleNamespace(num_samples=24, labels=LABELS))
    return distiller


def term(distiller, student, teacher, indices):
    batch = Batch(torch.zeros(len(indices), 3, 4, 4), indices=indices)
    return distiller({'pooled': student}, {'pooled': teacher}, batch, Progress())


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 99))
def test_plan_has_uniform_marginals(rows, columns, seed):
    cost = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plan = wcord_sinkhorn(cost, eps=0.2, n_iters=300)
    torch.testing.assert_close(plan.sum(0), torch.full_like(plan[0], 1 / columns))
    torch.testing.assert_close(plan.sum(1), torch.full_like(plan[:, 0], 1 / rows), rtol=1e-3, atol=1e-4)


def test_plan_with_little_entropy_is_the_assignment():
    permutation = torch.tensor([2, 0, 3, 1])
    cost = 1 - torch.eye(4)[permutation]
    torch.testing.assert_close(wcord_sinkhorn(cost, eps=0.02), torch.eye(4)[permutation] / 4, atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10))
def test_local_loss_ignores_norms_and_the_order_of_the_batch(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    loss = wcord_local_loss(student, teacher)
    torch.testing.assert_close(wcord_local_loss(student[torch.randperm(5)] * scale, teacher), loss)
    assert 0 <= loss <= 2 and wcord_local_loss(teacher, teacher) <= loss + 1e-9


@pytest.mark.parametrize('weight', [None, 0.5])
def test_global_loss_by_loops(weight):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    banks = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    rows = torch.randint(9, (3, 6), generator=generator)
    factor, expected = (5 if weight is None else weight), 0.0
    for anchor, bank in ((student, banks[1]), (teacher, banks[0])):
        for n in range(3):
            scores = [bank[k] @ anchor[n] / 0.5 for k in rows[n]]
            expected -= (scores[0] - factor * sum(scores[1:]) / 5) / 3
    torch.testing.assert_close(
        wcord_global_loss(student, teacher, rows, *banks, temperature=0.5, negative_weight=weight), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    x = torch.full((4, 8), 50.0, dtype=dtype)
    rows = torch.arange(8).view(4, 2)
    assert wcord_local_loss(x, -x).isfinite()
    assert wcord_global_loss(x, -x, rows, torch.ones(9, 8), torch.ones(9, 8)).isfinite()


def test_embeddings_are_spectrally_normalised_and_banks_move():
    distiller = built()
    student, teacher = torch.randn(6, 7), torch.randn(6, 9)
    bank = distiller.memory_student.clone()
    indices = torch.tensor([3, 1, 20, 7, 8, 9])
    for _ in range(10):
        term(distiller, student, teacher, indices)
    changed = (distiller.memory_student != bank).any(1)
    assert changed.nonzero().flatten().tolist() == sorted(indices.tolist())
    norm = torch.linalg.matrix_norm(distiller.student_embedding.linear.weight, 2)
    torch.testing.assert_close(norm, torch.tensor(1.0), atol=1e-2, rtol=0)
    assert not hasattr(distiller, 'z_student')
    moved = distiller.memory_student.clone()
    term(distiller.eval(), student, teacher, indices)
    assert torch.equal(distiller.memory_student, moved)


def test_steps_lower_the_loss_and_state_returns():
    distiller = built(negative_weight=1.0)
    student, teacher = torch.randn(8, 7, requires_grad=True), torch.randn(8, 9)
    optimizer = torch.optim.SGD([student, *distiller.param_groups()[0]['params']], lr=0.05)
    losses = []
    for _ in range(15):
        loss = sum(term(distiller, student, teacher, torch.arange(8)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    other = built()
    other.load_state_dict(distiller.state_dict())
    assert torch.equal(other.memory_teacher, distiller.memory_teacher)
    assert torch.equal(other.eval().student_embedding(student), distiller.eval().student_embedding(student))


def test_local_term_leaves_the_teacher_embedding_alone():
    distiller = built(global_weight=0.0)
    sum(term(distiller, torch.randn(4, 7), torch.randn(4, 9), torch.arange(4)).values()).backward()
    weight = 'parametrizations.weight.original'
    assert distiller.teacher_embedding.linear.get_parameter(weight).grad.abs().sum() == 0
    assert distiller.student_embedding.linear.get_parameter(weight).grad.abs().sum() > 0


def test_single_image_and_bad_input():
    distiller = built()
    assert all(v.isfinite() for v in term(distiller, torch.randn(1, 7), torch.randn(1, 9), torch.tensor([5])).values())
    with pytest.raises(ValueError, match='none'):
        distiller({'pooled': torch.randn(2, 7)}, {'pooled': torch.randn(2, 9)}, Batch(torch.zeros(2, 3, 4, 4)),
                  Progress())
    with pytest.raises(ValueError, match='eps > 0'):
        wcord_sinkhorn(torch.zeros(2, 2), eps=0.0)
    with pytest.raises(ValueError, match='eps > 0'):
        WCoRD(n_iters=0)
    unit = F.normalize(torch.randn(2, 3), dim=1)
    with pytest.raises(ValueError, match='negatives'):
        wcord_global_loss(unit, unit, torch.zeros(2, 1, dtype=torch.long), unit, unit)
