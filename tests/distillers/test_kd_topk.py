"""Partial KD: its targets one class at a time, ties, the class's four forms."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.distillers import (
    Batch,
    KDTopK,
    Progress,
    Shapes,
    kd_pt_targets,
    kd_sim_targets,
    kd_topk_targets,
    partial_kd_loss,
)

LABELS = torch.tensor([0, 5, 2, 2])


def logits(seed, n=4, k=6):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Teacher(nn.Module):
    def __init__(self, k=6):
        super().__init__()
        self.classifier = nn.Linear(9, k)


def shapes(k=6, net=None):
    return Shapes({'logits': torch.Size([2, k])}, {'logits': torch.Size([2, k])}, num_classes=k, teacher_net=net)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from([0.5, 1.0, 4.0]))
def test_targets_are_distributions(seed, k, temperature):
    teacher, weight = logits(seed), logits(seed, 6, 9)
    for targets in (kd_pt_targets(teacher, LABELS, temperature=temperature),
                    kd_topk_targets(teacher, k=k, temperature=temperature),
                    kd_sim_targets(weight, LABELS, temperature=temperature)):
        assert targets.shape == (4, 6)
        assert (targets >= 0).all()
        torch.testing.assert_close(targets.sum(1), torch.ones(4, dtype=torch.float64))


def test_topk_keeps_and_flattens():
    p = (logits(0) / 2).softmax(1)
    targets = kd_topk_targets(logits(0), k=2, temperature=2.0)
    for row, kept in zip(targets, p):
        order = kept.argsort(descending=True)
        torch.testing.assert_close(row[order[:2]], kept[order[:2]])
        torch.testing.assert_close(row[order[2:]], ((1 - kept[order[:2]].sum()) / 4).expand(4))
    torch.testing.assert_close(kd_topk_targets(logits(0), k=6), logits(0).softmax(1))


def test_topk_breaks_ties_by_the_lower_class():
    teacher = torch.zeros(1, 40)
    teacher[0, 30] = 1.0
    targets = kd_topk_targets(teacher, k=3)[0]
    kept = teacher.softmax(1)[0]
    torch.testing.assert_close(targets[[30, 0, 1]], kept[[30, 0, 1]])
    assert len(targets[targets.isclose(targets[39])]) in (37, 39)
    assert kd_topk_targets(torch.tensor([[1.0, 2, 2, 2]]), k=2)[0, 1:].tolist() == pytest.approx(
        [0.2969, 0.2969, 0.2031], abs=1e-4)


def test_pt_keeps_only_the_label():
    targets = kd_pt_targets(logits(0), LABELS, temperature=2.0)
    for row, p, y in zip(targets, (logits(0) / 2).softmax(1), LABELS):
        assert row[y] == p[y]
        torch.testing.assert_close(row[torch.arange(6) != y], ((1 - p[y]) / 5).expand(5))


def test_sim_clamps_negative_cosines():
    weight = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [3.0, 3.0], [0.0, 0.1]])
    cosine = torch.tensor([1.0, 0.0, 0.5**0.5, 0.0])
    expected = torch.softmax(cosine**0.3 / 0.3, 0)
    torch.testing.assert_close(kd_sim_targets(weight, torch.tensor([0]))[0], expected)


def test_loss_is_a_convex_mix():
    student, targets = logits(0), logits(1).softmax(1)
    torch.testing.assert_close(partial_kd_loss(student, LABELS, targets, alpha=0.0), F.cross_entropy(student, LABELS))
    soft = 4 * F.cross_entropy(student / 2, targets)
    torch.testing.assert_close(partial_kd_loss(student, LABELS, targets, temperature=2.0, alpha=1.0), soft)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0], [-50, -50, 50]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1, 0])
    for targets in (kd_pt_targets(-student, labels), kd_topk_targets(-student, k=1), kd_sim_targets(student.T, labels)):
        assert not targets.requires_grad
        assert targets.dtype == torch.float32
        loss = partial_kd_loss(student, labels, kd_pt_targets(-student, labels))
        (grad,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert grad.isfinite().all()


@pytest.mark.parametrize('target', ['topk', 'pt', 'sim', 'pt+sim'])
def test_class(target):
    net = Teacher().double()
    distiller = KDTopK(target=target, k=2, temperature=2.0, alpha=0.7, sim_gamma=0.5, sim_temperature=0.4)
    distiller.build(shapes(net=net))
    assert not distiller.state_dict()
    assert distiller.needs.teacher == (() if target == 'sim' else ('logits',))
    teacher = {'logits': logits(1)} if target != 'sim' else {}
    loss = distiller({'logits': logits(0)}, teacher, Batch(torch.zeros(4), labels=LABELS), Progress())['kd_topk']
    pt = kd_pt_targets(logits(1), LABELS, temperature=2.0)
    sim = kd_sim_targets(net.classifier.weight, LABELS, gamma=0.5, temperature=0.4)
    targets = {'topk': kd_topk_targets(logits(1), k=2, temperature=2.0), 'pt': pt, 'sim': sim, 'pt+sim': (pt + sim) / 2}
    torch.testing.assert_close(loss, partial_kd_loss(logits(0), LABELS, targets[target], temperature=2.0, alpha=0.7))


def test_bad_input():
    with pytest.raises(ValueError, match='k = 25'):
        KDTopK().build(shapes())
    with pytest.raises(ValueError, match='k = 0'):
        kd_topk_targets(logits(0), k=0)
    with pytest.raises(ValueError, match='last linear layer'):
        KDTopK(target='sim').build(shapes())
    with pytest.raises(ValueError, match='last linear layer'):
        KDTopK(target='sim').build(shapes(net=Teacher(k=9)))
    with pytest.raises(ValueError, match='at least 2'):
        KDTopK(target='pt').build(shapes(k=1))
    with pytest.raises(ValueError, match='KDTopK target'):
        KDTopK(target='top')
    with pytest.raises(ValueError, match='KDTopK needs labels'):
        KDTopK(k=2)({'logits': logits(0)}, {'logits': logits(1)}, Batch(torch.zeros(4)), Progress())
