"""TopKD against loops over samples, and its bad input."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, Progress, Shapes, TopKD, topk_scale, topkd_loss


def slow_scale(logits, labels, k, scale, gt_scale, bias):
    result = logits.clone()
    for n, z in enumerate(logits.tolist()):
        ranked = sorted(range(len(z)), key=lambda i: (-z[i], i))
        top, others = ranked[:k], ranked[k:]
        weights = {c: 1 + scale * (k - r) / k for r, c in enumerate(top)}
        label = int(labels[n])
        if ranked[0] != label:
            weights[label] = 1 + gt_scale
        delta = bias * (sum(z[c] for c in top) / k - sum(z[c] for c in others) / len(others))
        for c, w in weights.items():
            result[n, c] = w * z[c] + delta
    return result


def slow_tdl(student, scaled, k, alpha, beta):
    total = 0.0
    for s, z in zip(student, scaled):
        ranked = sorted(range(len(z)), key=lambda i: (-float(z[i]), i))
        for weight, group in ((alpha, ranked[:k]), (beta, ranked[-k:]), (1.0, ranked[k:-k])):
            total += weight * float(s[group] @ z[group] / max(float(s[group].norm() * z[group].norm()), 1e-8))
    return 1 - total / len(student)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_against_loops(seed, k, ties):
    g = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(4, 9, generator=g, dtype=torch.float64) for _ in range(2))
    teacher = teacher.round() if ties else teacher
    labels = torch.randint(9, (4,), generator=g)
    options = dict(scale=0.3, gt_scale=0.7, bias=0.2)
    scaled = topk_scale(teacher, labels, k=k, **options)
    torch.testing.assert_close(scaled, slow_scale(teacher, labels, k, **options))
    terms = topkd_loss(student, teacher, labels, k=k, alpha=0.5, beta=2.0, normalize=False, temperature=5.0, **options)
    assert float(terms['tdl']) == pytest.approx(slow_tdl(student, scaled, k, 0.5, 2.0))
    similarity = student @ teacher.T / 5
    both = similarity.log_softmax(0).diagonal() + similarity.log_softmax(1).diagonal()
    torch.testing.assert_close(terms['contrastive'], -both.mean() / 2)


def test_scale_of_the_student_does_not_matter_and_batch_order_neither():
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(6, 12).double(), torch.randn(6, 12).double(), torch.arange(6)
    terms = topkd_loss(student, teacher, labels, k=3)
    order = torch.randperm(6)
    for same in (topkd_loss(7 * student, teacher, labels, k=3),
                 topkd_loss(student[order], teacher[order], labels[order], k=3)):
        torch.testing.assert_close(same, terms)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_at_extremes(dtype):
    for student in (torch.zeros(3, 12), torch.full((3, 12), 50.0), torch.linspace(-50, 50, 36).view(3, 12)):
        student = student.to(dtype).requires_grad_()
        terms = topkd_loss(student, student.detach().flip(1), torch.tensor([0, 5, 11]), k=3)
        sum(terms.values()).backward()
        assert all(v.isfinite() for v in terms.values()) and student.grad.isfinite().all()


def test_class_learns_and_takes_a_batch_of_one():
    torch.manual_seed(0)
    distiller = TopKD(k=3, tdl_weight=2.0)
    size = torch.Size((2, 10))
    distiller.build(Shapes(dict(logits=size), dict(logits=size), 10))
    student, teacher = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10)
    batch = Batch(torch.zeros(8, 1, 1, 1), labels=torch.randint(10, (8,)))

    def loss():
        return sum(distiller(dict(logits=student), dict(logits=teacher), batch, Progress()).values())
    first, optimizer = loss().item(), torch.optim.SGD([student], 1.0)
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < first - 1
    one = distiller(dict(logits=student[:1]), dict(logits=teacher[:1]), Batch(batch.images[:1], batch.labels[:1]),
                    Progress())
    assert one['contrastive'] == 0 and one['tdl'].isfinite()


def test_bad_input():
    with pytest.raises(ValueError, match='lower k'):
        topkd_loss(torch.zeros(2, 10), torch.zeros(2, 10), torch.zeros(2, dtype=torch.int64), k=5)
    for k in (0, 10):
        with pytest.raises(ValueError, match='k from 1 to 9'):
            topk_scale(torch.zeros(2, 10), torch.zeros(2, dtype=torch.int64), k=k)
    size = torch.Size((2, 10))
    with pytest.raises(ValueError, match='more than 10'):
        TopKD(k=5).build(Shapes(dict(logits=size), dict(logits=size), 10))
