"""Laws of logit standardization, and its class."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, LogitStd, Progress, Shapes, logit_std_loss, standardize_logits


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 50), st.floats(-50, 50))
def test_shift_and_scale_do_not_matter(seed, scale, shift):
    g = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    loss = logit_std_loss(student, teacher)
    torch.testing.assert_close(logit_std_loss(scale * student + shift, teacher), loss, rtol=1e-4, atol=1e-6)
    assert loss >= 0 and logit_std_loss(scale * teacher + shift, teacher) < 1e-8


def test_scores_have_unbiased_unit_variance_along_the_last_axis():
    scores = standardize_logits(torch.randn(2, 3, 5).double())
    torch.testing.assert_close(scores.mean(-1), torch.zeros(2, 3).double())
    torch.testing.assert_close(scores.var(-1, unbiased=True), torch.ones(2, 3).double(), rtol=1e-5, atol=0)


def test_equal_logits_give_zeros_and_no_huge_gradient():
    logits = torch.tensor([[0.1] * 5, [1.0, 2, 3, 4, 5]], requires_grad=True)
    logit_std_loss(logits, torch.randn(2, 5)).backward()
    assert (logits.grad[0] == 0).all() and 0 < logits.grad[1].abs().max() < 10
    assert (standardize_logits(logits)[0] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits = torch.tensor([[50.0, -50, 0], [50, 50, -50]], dtype=dtype, requires_grad=True)
    loss = logit_std_loss(logits, -logits.detach())
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and logits.grad.isfinite().all()


@pytest.mark.parametrize('base', ['kd', 'dkd'])
def test_class(base):
    torch.manual_seed(0)
    distiller = LogitStd(base)
    size = torch.Size((2, 10))
    distiller.build(Shapes(dict(logits=size), dict(logits=size), 10))
    student, teacher = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10)
    batch = Batch(torch.zeros(8, 1, 1, 1), labels=torch.arange(8) if base == 'dkd' else None)
    assert distiller.needs.labels == (base == 'dkd')

    def loss(epoch=20):
        return distiller(dict(logits=student), dict(logits=teacher), batch, Progress(epoch))['logit_std']
    torch.testing.assert_close(loss(1) * (20 if base == 'dkd' else 1), loss())
    first, optimizer = loss().item(), torch.optim.Adam([student], 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < 0.01 * first


def test_bad_input():
    with pytest.raises(ValueError, match="'kd' or 'dkd'"):
        LogitStd('mlkd')
    with pytest.raises(ValueError, match='at least 2 classes'):
        standardize_logits(torch.zeros(3, 1))
    with pytest.raises(ValueError, match='the student has 10, the teacher 5'):
        LogitStd().build(Shapes(dict(logits=torch.Size((2, 10))), dict(logits=torch.Size((2, 5))), 10))
