"""TTM and WTTM: as tempered KL, weights, underflow."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import TTM, Batch, Progress, kd_loss, ttm_loss, wttm_loss


def logits(seed, scale=3.0):
    return scale * torch.randn(5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_against_plain_powers(seed, gamma):
    student, teacher = logits(seed), logits(seed + 1)
    powered = teacher.softmax(1) ** gamma
    mass = powered.sum(1)
    q = powered / mass[:, None]
    divergence = (q * (q.log() - student.log_softmax(1))).sum(1)
    torch.testing.assert_close(ttm_loss(student, teacher, gamma=gamma), divergence.mean())
    torch.testing.assert_close(wttm_loss(student, teacher, gamma=gamma), (mass * divergence).mean())
    assert ((mass > 1 - 1e-9) & (mass < 6 ** (1 - gamma) + 1e-9)).all()


def test_power_one_is_kd_and_its_weights_are_one():
    student, teacher = logits(0), logits(1)
    torch.testing.assert_close(ttm_loss(student, teacher, gamma=1.0), kd_loss(student, teacher, temperature=1.0))
    torch.testing.assert_close(wttm_loss(student, teacher, gamma=1.0), kd_loss(student, teacher, temperature=1.0))


def test_minimum_at_the_powered_teacher():
    teacher = logits(0)
    student = (0.2 * teacher + 7).requires_grad_()
    for loss in (ttm_loss(student, teacher, gamma=0.2), wttm_loss(student, teacher, gamma=0.2)):
        (grad,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-12)
        torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_finite_where_probabilities_underflow(dtype):
    student = torch.tensor([[50.0, -50, 0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-50.0, 50, -50]], dtype=dtype) * (1 if dtype != torch.float32 else 10)
    loss = ttm_loss(student, teacher) + wttm_loss(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class():
    student, teacher = {'logits': logits(0)}, {'logits': logits(1)}
    batch = Batch(torch.zeros(5, 3, 8, 8))
    assert TTM(gamma=0.3)(student, teacher, batch, Progress()) == {'ttm': ttm_loss(logits(0), logits(1), gamma=0.3)}
    assert TTM(gamma=0.3, weighted=True)(student, teacher, batch, Progress()) == {
        'wttm': wttm_loss(logits(0), logits(1), gamma=0.3)}
    with pytest.raises(ValueError, match='gamma'):
        TTM(gamma=0.0)
