"""RKD: laws, slow references, degenerate batches."""
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import (
    RKD,
    Batch,
    Progress,
    hard_darkrank_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    rkd_loss,
)

BATCH = Batch(torch.zeros(2, 3, 8, 8))


def embeddings(count, dim, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def huber(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def slow_distance(student, teacher):
    rows = []
    for feat in (student, teacher):
        pairs = {(i, j): max((feat[i] - feat[j]).square().sum().item(), 1e-12) ** 0.5
                 for i, j in itertools.permutations(range(len(feat)), 2)}
        mean = sum(pairs.values()) / len(pairs)
        rows.append({key: value / mean for key, value in pairs.items()})
    return sum(huber(rows[0][key] - rows[1][key]) for key in rows[0]) / len(student) ** 2


def slow_angle(student, teacher):
    total = 0
    for i, j, k in itertools.product(range(len(student)), repeat=3):
        cosines = []
        for feat in (student, teacher):
            a, b = feat[j] - feat[i], feat[k] - feat[i]
            cosines.append((a @ b / (max(a.norm().item(), 1e-12) * max(b.norm().item(), 1e-12))).item())
        total += huber(cosines[0] - cosines[1])
    return total / len(student) ** 3


def slow_darkrank(student, teacher, alpha, beta, length):
    total = 0
    for i in range(len(student)):
        distances = {j: (teacher[i] - teacher[j]).norm().item() for j in range(len(teacher)) if j != i}
        nearest = sorted(distances, key=distances.get)
        scores = [-alpha * (student[i] - student[j]).norm().item() ** beta for j in nearest[:length]]
        total -= sum(scores[r] - math.log(sum(math.exp(s) for s in scores[r:])) for r in range(length))
    return total / len(student)


def test_slow_references():
    student, teacher = embeddings(6, 4), embeddings(6, 7, seed=1)
    assert rkd_distance_loss(student, teacher).item() == pytest.approx(slow_distance(student, teacher))
    assert rkd_angle_loss(student, teacher).item() == pytest.approx(slow_angle(student, teacher))
    for options in ({'alpha': 3, 'beta': 3, 'permute_len': 4}, {'alpha': 1, 'beta': 0.5, 'permute_len': 5}):
        slow = slow_darkrank(student, teacher, *options.values())
        assert hard_darkrank_loss(student, teacher, **options).item() == pytest.approx(slow)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_similarity_transforms_change_nothing(seed, scale, shift):
    student, teacher = embeddings(5, 4, seed), embeddings(5, 3, seed + 1)
    rotation = torch.linalg.qr(embeddings(4, 4, seed + 2)).Q
    moved, order = scale * student @ rotation + shift, torch.randperm(5)
    for loss in (rkd_distance_loss, rkd_angle_loss, rkd_loss):
        value = loss(student, teacher)
        torch.testing.assert_close(loss(moved, teacher), value)
        torch.testing.assert_close(loss(student[order], teacher[order]), value)
        assert loss(teacher, teacher) < 1e-12


def test_duplicates_count_in_the_mean_and_stay_finite():
    student, teacher = embeddings(5, 4), embeddings(5, 3, seed=1)
    student[1], teacher[1] = student[0], teacher[0]
    student.requires_grad_()
    loss = rkd_loss(student, teacher) + hard_darkrank_loss(student, teacher, beta=0.5)
    loss.backward()
    assert student.grad.isfinite().all()
    assert rkd_distance_loss(student, teacher).item() == pytest.approx(slow_distance(student, teacher), rel=1e-6)


def test_collapsed_student_has_a_finite_gradient():
    student = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    rkd_distance_loss(student, embeddings(4, 3)).backward()
    assert student.grad.isfinite().all()


def test_the_teacher_gets_no_gradient():
    student, teacher = embeddings(4, 3).requires_grad_(), embeddings(4, 3, seed=1).requires_grad_()
    rkd_loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_bad_input():
    for loss in (rkd_distance_loss, rkd_angle_loss, hard_darkrank_loss):
        with pytest.raises(ValueError, match='two or more'):
            loss(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match='equally many'):
        rkd_loss(torch.zeros(3, 4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match='permute_len=4'):
        hard_darkrank_loss(torch.zeros(4, 4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match='darkrank_length'):
        RKD(darkrank_length=0)


def test_class_terms_and_small_batches():
    distiller = RKD(distance_weight=1, angle_weight=2, darkrank_weight=0.5, normalize_teacher=True)
    for count in (1, 4, 6):
        student, teacher = embeddings(count, 5).requires_grad_(), 3 * embeddings(count, 8, seed=1)
        terms = distiller({'pooled': student}, {'pooled': teacher}, BATCH, Progress())
        sum(terms.values()).backward()
        assert student.grad.isfinite().all()
        unit = F.normalize(teacher, dim=1)
        zero = torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(terms['distance'], rkd_distance_loss(student, unit) if count > 1 else zero)
        torch.testing.assert_close(terms['angle'], 2 * rkd_angle_loss(student, unit) if count > 1 else zero)
        torch.testing.assert_close(terms['darkrank'], 0.5 * hard_darkrank_loss(student, unit) if count > 4 else zero)
    assert set(RKD()({'pooled': student}, {'pooled': teacher}, BATCH, Progress())) == {'distance', 'angle'}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = (50 * embeddings(6, 512).sign()).to(dtype).requires_grad_()
    loss = rkd_loss(student, (-50 * embeddings(6, 512, seed=1).sign()).to(dtype))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_descent():
    student, teacher = embeddings(6, 4).requires_grad_(), embeddings(6, 7, seed=1)
    before = rkd_loss(student, teacher)
    for _ in range(20):
        grad, = torch.autograd.grad(rkd_loss(student, teacher), student)
        student = (student - 0.05 * grad).detach().requires_grad_()
    assert rkd_loss(student, teacher) < 0.8 * before
