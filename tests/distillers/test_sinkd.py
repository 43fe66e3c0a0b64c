"""SinKD: the plan against plain divisions, its marginals, stationarity of training."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, Progress, SinKD, sinkd_loss, sinkd_plan


def logits(seed, n=5, k=4):
    return 2 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.05, 0.1, 1.0]), st.integers(0, 8))
def test_plan_against_plain_divisions(seed, eps, n_iters):
    cost = logits(seed, 4, 6).abs().clamp(max=2)
    expected = torch.exp(-cost / eps)
    for _ in range(n_iters):
        expected = expected / expected.sum(1, keepdim=True)
        expected = expected / expected.sum(0, keepdim=True)
    plan = sinkd_plan(cost, eps=eps, n_iters=n_iters)
    torch.testing.assert_close(plan, expected)
    if n_iters:
        torch.testing.assert_close(plan.sum(0), torch.ones(6, dtype=torch.float64))


def test_loss_pair_by_pair_grows_with_the_batch_and_ignores_its_order():
    student, teacher = logits(0), logits(1)
    p, q = (student / 3).softmax(1), (teacher / 3).softmax(1)
    cost = torch.stack([torch.stack([(a - b).abs().sum() for b in q]) for a in p])
    options = dict(temperature=3.0, eps=0.2, n_iters=6)
    loss = sinkd_loss(student, teacher, **options)
    torch.testing.assert_close(loss, (sinkd_plan(cost, eps=0.2, n_iters=6) * cost).sum())
    torch.testing.assert_close(sinkd_loss(student[[3, 1, 0, 2, 4]], teacher[[4, 2, 3, 1, 0]], **options), loss)
    doubled = sinkd_loss(torch.cat([student] * 2), torch.cat([teacher] * 2), **options)
    torch.testing.assert_close(doubled, 2 * loss)


def test_gradient_goes_through_the_plan():
    student, cost = logits(0).requires_grad_(), logits(2).abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: sinkd_loss(z, logits(1), n_iters=3), student)
    assert torch.autograd.gradcheck(lambda c: sinkd_plan(c, eps=0.5, n_iters=3), cost)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_one_sample(dtype):
    student = torch.tensor([[50.0, -50, 0], [-50, -50, 50]], dtype=dtype, requires_grad=True)
    loss = sinkd_loss(student, -student.detach()) + sinkd_loss(student[:1], -student.detach()[:1])
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert sinkd_loss(student, student) < 0.1


def test_class_brings_free_logits_to_the_teacher():
    student, teacher = logits(0).requires_grad_(), {'logits': logits(1)}
    optimizer = torch.optim.SGD([student], lr=0.5)
    losses = []
    for _ in range(60):
        loss = SinKD()({'logits': student}, teacher, Batch(torch.zeros(5)), Progress())['sinkd']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match='SinKD'):
        SinKD(eps=0.0)
