"""CTKD: reversed gradients, the curriculum, its three forms."""
import math

import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import (
    CTKD,
    Batch,
    Progress,
    Shapes,
    ctkd_instance_loss,
    ctkd_lambda,
    ctkd_loss,
    dkd_loss,
    gradient_reversal,
    kd_loss,
)

SHAPES = Shapes({'logits': torch.Size([2, 5])}, {'logits': torch.Size([2, 5])}, num_classes=5)
BATCH = Batch(torch.zeros(4, 3, 8, 8), labels=torch.tensor([0, 1, 2, 4]))


def logits(seed, dtype=torch.float64):
    return (2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def taps(seed):
    return {'logits': logits(seed, torch.float32)}


@pytest.mark.parametrize('lambda_', [-1.0, -0.3, 0.0, 2.0])
def test_gradient_reversal_multiplies_by_the_factor_as_given(lambda_):
    x = torch.tensor([0.1, -7.3, 1e6], requires_grad=True)
    out = gradient_reversal(x, lambda_)
    assert torch.equal(out, x)
    out.backward(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(x.grad, lambda_ * torch.tensor([1.0, 2.0, 3.0]))


def test_loss_is_kd_at_the_temperature_and_ascends_in_it():
    student, teacher, raw = logits(0), logits(1), torch.tensor([0.3], dtype=torch.float64)
    temperature = 2 + 10 * torch.sigmoid(raw).item()
    options = dict(t_start=2.0, t_range=10.0)
    loss = ctkd_loss(student, teacher, raw, grl_lambda=-1.0, **options)
    torch.testing.assert_close(loss, kd_loss(student, teacher, temperature=temperature))
    raw.requires_grad_()
    grads = [torch.autograd.grad(ctkd_loss(student, teacher, raw, grl_lambda=factor, **options), raw)[0]
             for factor in (1.0, -0.4)]
    step = 1e-5
    numeric = (ctkd_loss(student, teacher, raw + step, grl_lambda=1.0, **options)
               - ctkd_loss(student, teacher, raw - step, grl_lambda=1.0, **options)) / (2 * step)
    torch.testing.assert_close(grads[0].squeeze(), numeric.detach(), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(grads[1], -0.4 * grads[0])


def test_instance_loss_one_sample_at_a_time():
    student, teacher = logits(0), logits(1)
    temperature = torch.tensor([1.0, 2.0, 5.0, 20.0], dtype=torch.float64)
    expected = 0
    for s, t, tau in zip(student, teacher, temperature):
        p = F.softmax(t / tau, dim=0) + 1e-7
        expected += tau**2 * sum(p * (p.log() - F.log_softmax(s / tau, dim=0))) / 4
    torch.testing.assert_close(ctkd_instance_loss(student, teacher, temperature), expected)
    torch.testing.assert_close(ctkd_instance_loss(student, teacher, temperature[:, None]), expected)


def test_lambda():
    cosine = [ctkd_lambda(epoch=e) for e in range(13)]
    assert cosine[0] == 0
    assert cosine[1] == pytest.approx(-0.0244717, abs=1e-6)
    assert cosine[10:] == pytest.approx([-1, -1, -1])
    linear = [ctkd_lambda(epoch=e, max_value=0.5, min_value=-1.5, num_loops=4, schedule='linear') for e in range(6)]
    assert linear == pytest.approx([0, -0.5, -1.0, -1.5, -1.5, -1.5])
    assert ctkd_lambda(epoch=5, max_value=1.0, min_value=-3.0) == pytest.approx(-1.0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0]], dtype=dtype, requires_grad=True)
    teacher, raw = torch.tensor([[-50.0, 50, 0]], dtype=dtype), torch.ones(1, requires_grad=True)
    loss = ctkd_loss(student, teacher, raw, grl_lambda=-1.0, t_range=0.1)
    loss = loss + ctkd_instance_loss(student, teacher, torch.ones(1, dtype=dtype))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize('base', ['kd', 'dkd', 'instance'])
def test_forms_of_the_class_start_at_the_same_temperature(base):
    distiller = CTKD(base=base)
    distiller.build(SHAPES)
    temperature = 1 + 20 / (1 + math.exp(-1))
    student, teacher = taps(0), taps(1)
    student['logits'].requires_grad_()
    loss = distiller(student, teacher, BATCH, Progress(epoch=20, epochs=20))['ctkd']
    pair = student['logits'], teacher['logits']
    expected = (dkd_loss(*pair, BATCH.labels, temperature=temperature, alpha=1.0, beta=2.0)
                if base == 'dkd' else kd_loss(*pair, temperature=temperature))
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)
    loss.backward()
    grads = [p.grad for p in distiller.parameters()]
    assert grads
    assert all(g is not None and g.isfinite().all() for g in grads)
    assert any(g.any() for g in grads)
    assert len(distiller.param_groups()[0]['params']) == len(grads)


def test_the_temperature_climbs_against_the_student():
    distiller = CTKD()
    distiller.build(SHAPES)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = distiller(taps(0), taps(1), BATCH, Progress(epoch=10))['ctkd']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses)
    other = CTKD()
    other.load_state_dict(distiller.state_dict())
    assert other.raw_temperature == distiller.raw_temperature != 1


def test_bad_input():
    with pytest.raises(ValueError, match='CTKD base'):
        CTKD(base='global')
    with pytest.raises(ValueError, match='schedule'):
        CTKD(schedule='cosin')
    with pytest.raises(ValueError, match='num_loops'):
        CTKD(num_loops=0)
    with pytest.raises(ValueError, match='labels'):
        CTKD(base='dkd')(taps(0), taps(1), Batch(torch.zeros(4, 3, 8, 8)), Progress())
