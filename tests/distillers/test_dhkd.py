"""DHKD: the clamp in every precision, gradient alignment, the auxiliary head."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import DHKD, Batch, Progress, Shapes, binary_kl_loss, dhkd_loss, gradient_align
from zoo.models import AuxHead

SHAPES = Shapes({'pooled': torch.Size([2, 6])}, {'logits': torch.Size([2, 5])}, num_classes=5)


def rand(n, k, seed=0, dtype=torch.float64):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def plain(student, teacher, temperature, eps, norm):
    """The formulae as written, good in float64."""
    s, t = student / temperature, teacher / temperature
    one = (torch.full_like(s, 0.5), torch.sigmoid(s - t)) if norm else (torch.sigmoid(t), torch.sigmoid(s))
    p, q = (x.clamp(eps, 1 - eps) for x in one)
    element = p * (p.log() - q.log()) + (1 - p) * ((1 - p).log() - (1 - q).log())
    return temperature**2 * element.sum() / len(s)


@pytest.mark.parametrize(('function', 'norm'), [(dhkd_loss, True), (binary_kl_loss, False)])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 20.0]), eps=st.sampled_from([1e-8, 1e-3]))
def test_against_the_plain_formula(function, norm, seed, scale, eps):
    student, teacher = (scale * rand(4, 5, seed)).requires_grad_(), scale * rand(4, 5, seed + 1)
    loss, expected = function(student, teacher, temperature=1.5, eps=eps), plain(student, teacher, 1.5, eps, norm)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    got, wanted = (torch.autograd.grad(value, student)[0] for value in (loss, expected))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert function(teacher, teacher).abs() < 1e-9


def test_small_differences_are_squared_and_large_ones_absolute():
    zero = torch.zeros(1, 1, dtype=torch.float64)
    assert dhkd_loss(zero + 0.01, zero, temperature=1.0).item() == pytest.approx(0.01**2 / 8, rel=1e-3)
    assert dhkd_loss(zero + 15, zero, temperature=1.0).item() == pytest.approx(15 / 2 - math.log(2), rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_beyond_the_clamp(dtype):
    student = torch.tensor([[50.0, -50, 0, 1]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-50.0, 50, 0, 0]], dtype=dtype)
    for function in (dhkd_loss, binary_kl_loss):
        loss = function(student, teacher, temperature=1.0)
        (grad,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert grad.isfinite().all()
        assert grad[0, :2].eq(0).all()
        assert grad[0, 3] > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_gradient_align(seed):
    cls_grad, kd_grad = rand(2, 9, seed)
    step = gradient_align(cls_grad, kd_grad)
    if cls_grad @ kd_grad >= 0:
        assert torch.equal(step, cls_grad + kd_grad)
    else:
        torch.testing.assert_close(step @ cls_grad, cls_grad @ cls_grad)
        rest = step - cls_grad
        torch.testing.assert_close(rest @ rest, kd_grad @ kd_grad - (cls_grad @ kd_grad)**2 / (cls_grad @ cls_grad))
    torch.testing.assert_close(gradient_align(cls_grad, -2 * cls_grad), cls_grad)


def test_gradient_align_without_classification_gradient():
    kd_grad = torch.tensor([1.0, -2.0])
    assert torch.equal(gradient_align(torch.zeros(2), kd_grad), kd_grad)


@pytest.mark.parametrize(('head', 'loss'), [('nonlinear', 'norm'), ('linear', 'norm'), ('linear', 'binary')])
def test_class_trains_head_and_feature(head, loss):
    torch.manual_seed(0)
    distiller = DHKD(head=head, loss=loss, dropout=0.0)
    distiller.build(SHAPES)
    assert isinstance(distiller.aux_head, AuxHead) == (head == 'nonlinear')
    pooled, teacher = rand(8, 6, dtype=torch.float32).requires_grad_(), {'logits': rand(8, 5, 1, torch.float32)}
    optimizer = torch.optim.SGD([pooled, *distiller.parameters()], lr=0.01)
    losses = []
    for _ in range(20):
        value = distiller({'pooled': pooled}, teacher, Batch(torch.zeros(8)), Progress())['dhkd']
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.85 * losses[0]
    assert pooled.grad.any()
    copy = DHKD(head=head, loss=loss)
    copy.build(SHAPES)
    copy.load_state_dict(distiller.state_dict())


def test_rule_only_where_aligned():
    assert DHKD().gradient_rule is gradient_align
    assert DHKD(align=False).gradient_rule is None
    assert DHKD.gradient_rule is None


def test_one_sample_gives_a_zero_that_reaches_every_parameter():
    distiller = DHKD()
    distiller.build(SHAPES)
    pooled = rand(1, 6, dtype=torch.float32).requires_grad_()
    loss = distiller({'pooled': pooled}, {'logits': rand(1, 5, 1, torch.float32)}, Batch(torch.zeros(1)), Progress())
    loss['dhkd'].backward()
    assert loss['dhkd'] == 0
    assert all(p.grad is not None and not p.grad.any() for p in (pooled, *distiller.parameters()))
    linear = DHKD(head='linear')
    linear.build(SHAPES)
    loss = linear({'pooled': pooled}, {'logits': rand(1, 5, 1, torch.float32)}, Batch(torch.zeros(1)), Progress())
    assert loss['dhkd'] > 0


def test_bad_input():
    for wrong in (dict(head='mlp'), dict(loss='kl'), dict(eps=0.0)):
        with pytest.raises(ValueError, match='DHKD'):
            DHKD(**wrong)
