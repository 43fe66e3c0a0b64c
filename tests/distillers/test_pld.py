"""PLD: against one choice after the other, and its limits."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import PLD, Batch, Progress, pld_loss


def logits(seed, n=5, k=6):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(student, teacher, labels, temperature):
    total = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist()):
        mass = sum(math.exp(x / temperature) for x in t)
        order = [y, *sorted((k for k in range(len(t)) if k != y), key=lambda k: -t[k])]
        for place, k in enumerate(order):
            rest = sum(math.exp(s[j]) for j in order[place:])
            total += math.exp(t[k] / temperature) / mass * (math.log(rest) - s[k])
    return total / len(student)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 4.0]), st.floats(-20, 20))
def test_one_choice_after_the_other(seed, temperature, shift):
    student, teacher, labels = logits(seed), logits(seed + 1), torch.tensor([0, 5, 2, 2, 4])
    loss = pld_loss(student, teacher, labels, temperature=temperature)
    assert loss.item() == pytest.approx(slow(student, teacher, labels, temperature))
    rows = torch.randperm(5)
    torch.testing.assert_close(pld_loss(student[rows] + shift, teacher[rows] - shift, labels[rows],
                                        temperature=temperature), loss)


def test_gradient_of_the_specification():
    student, teacher, labels = logits(0).requires_grad_(), logits(1), torch.tensor([1, 1, 3, 0, 5])
    (grad,) = torch.autograd.grad(pld_loss(student, teacher, labels), student)
    for n in range(5):
        s, q = student[n].detach(), teacher[n].softmax(0)
        order = [labels[n].item(), *(k for k in teacher[n].argsort(descending=True).tolist() if k != labels[n])]
        u, a = s[order], q[order]
        c = torch.stack([u[k:].logsumexp(0) for k in range(6)])
        expected = torch.stack([sum(a[k] * torch.exp(u[i] - c[k]) for k in range(i + 1)) - a[i] for i in range(6)])
        torch.testing.assert_close(grad[n][order], expected / 5)


def test_a_sure_teacher_leaves_the_cross_entropy():
    student, labels = logits(0), torch.tensor([0, 5, 2, 2, 4])
    sure = 200.0 * F.one_hot(labels, 6).double()
    torch.testing.assert_close(pld_loss(student, sure, labels), F.cross_entropy(student, labels))
    wrong = 200.0 * F.one_hot((labels + 1) % 6, 6).double()
    rest = student.masked_fill(F.one_hot(labels, 6).bool(), -torch.inf)
    torch.testing.assert_close(pld_loss(student, wrong, labels), F.cross_entropy(rest, (labels + 1) % 6))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0, 50], [-50, -50, 50, 0]], dtype=dtype, requires_grad=True)
    loss = pld_loss(student, -student.detach(), torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_class_trains_free_logits_and_wants_hard_labels():
    student, teacher = logits(0).requires_grad_(), {'logits': logits(1)}
    batch = Batch(torch.zeros(5), labels=torch.tensor([0, 5, 2, 2, 4]))
    optimizer = torch.optim.SGD([student], lr=2.0)
    losses = []
    for _ in range(30):
        loss = PLD(temperature=4.0)({'logits': student}, teacher, batch, Progress())['pld']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for soft in (None, torch.full((5, 6), 1 / 6)):
        with pytest.raises(ValueError, match='PLD needs'):
            PLD()({'logits': student}, teacher, Batch(torch.zeros(5), labels=soft), Progress())
