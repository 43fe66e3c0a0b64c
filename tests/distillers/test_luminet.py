"""LumiNet: statistics of the batch, warm-up, a batch of one."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, LumiNet, Progress, luminet_loss, luminet_perception


def logits(seed, n=6, k=5):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_perception_is_batch_norm_without_parameters(seed):
    z = logits(seed) + seed
    torch.testing.assert_close(luminet_perception(z, eps=1e-3), F.batch_norm(z, None, None, training=True, eps=1e-3))
    rows = torch.randperm(6)
    torch.testing.assert_close(luminet_perception(z[rows]), luminet_perception(z)[rows])


def test_loss_from_its_parts_and_blind_to_each_class_scale_and_shift():
    student, teacher = logits(0), logits(1)
    s, t = (luminet_perception(z) / 2 for z in (student, teacher))
    expected = 9 * (t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1))).sum() / 6
    loss = luminet_loss(student, teacher, temperature=2.0, alpha=3.0)
    torch.testing.assert_close(loss, expected)
    moved = student * torch.tensor([1.0, 2, 5, 0.5, 3]) + torch.tensor([4.0, -9, 0, 1, 7])
    torch.testing.assert_close(luminet_loss(moved, teacher, temperature=2.0, alpha=3.0), loss, rtol=1e-4, atol=1e-6)
    assert luminet_loss(teacher, teacher) == 0


def test_gradient_goes_through_the_statistics():
    student = logits(0).requires_grad_()
    luminet_loss(student, logits(1)).backward()
    torch.testing.assert_close(student.grad.sum(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-9)
    assert torch.autograd.gradcheck(lambda z: luminet_loss(z, logits(1), alpha=2.0), student)


def test_constant_column_and_a_batch_of_one_are_zero():
    z = logits(0)
    z[:, 2] = 4.0
    assert luminet_perception(z)[:, 2].eq(0).all()
    one = logits(0, n=1).requires_grad_()
    loss = luminet_loss(one, logits(1, n=1))
    loss.backward()
    assert loss == 0
    assert not one.grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0], [-50, -50, 50]], dtype=dtype, requires_grad=True)
    loss = luminet_loss(student, -student.detach(), temperature=0.7)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class_warms_up():
    distiller = LumiNet(warmup_epochs=4)
    student, teacher, batch = {'logits': logits(0)}, {'logits': logits(1)}, Batch(torch.zeros(6))
    full = luminet_loss(logits(0), logits(1))
    values = [distiller(student, teacher, batch, Progress(epoch=e))['luminet'] / full for e in (1, 2, 4, 9)]
    assert [v.item() for v in values] == pytest.approx([0.25, 0.5, 1, 1])
