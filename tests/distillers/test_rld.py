"""Laws of RLD, a reference by loops, and its class."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import RLD, Batch, Progress, Shapes, dkd_loss, rld_loss, standardize_logits


def slow_rld(student, teacher, labels, temperature, alpha_temperature, alpha, beta):
    """Over lists of the classes that are kept, instead of masks."""
    total = 0.0
    for s, t, label in zip(student.tolist(), teacher.tolist(), labels.tolist()):
        def softmax(x, temp):
            e = [math.exp(v / temp) for v in x]
            return [v / sum(e) for v in e]
        top = max(range(len(t)), key=t.__getitem__)
        ps, pt = softmax(s, alpha_temperature)[label], softmax(t, alpha_temperature)[top]
        scd = pt * math.log(pt / ps) + (1 - pt) * math.log((1 - pt) / (1 - ps))
        kept = [k for k in range(len(t)) if t[k] < t[label]]
        q, p = (softmax([x[k] for k in kept], temperature) for x in (s, t))
        mcd = sum(b * math.log(b / a) for a, b in zip(q, p))
        total += alpha * alpha_temperature**2 * scd + beta * temperature**2 * mcd
    return total / len(student)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 5), st.floats(1, 5), st.booleans())
def test_against_lists(seed, temperature, alpha_temperature, ties):
    g = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(5, 6, generator=g, dtype=torch.float64) for _ in range(2))
    teacher = teacher.round() if ties else teacher
    labels = torch.randint(6, (5,), generator=g)
    loss = rld_loss(student, teacher, labels, temperature=temperature, alpha_temperature=alpha_temperature, alpha=0.5,
                    beta=3.0)
    assert float(loss) == pytest.approx(slow_rld(student, teacher, labels, temperature, alpha_temperature, 0.5, 3.0))


def test_with_a_teacher_that_is_right_it_is_dkd():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    labels = teacher.argmax(1)
    torch.testing.assert_close(rld_loss(student, teacher, labels, temperature=4.0, alpha_temperature=4.0),
                               dkd_loss(student, teacher, labels, temperature=4.0))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_everything_masked(dtype):
    student = torch.full((4, 10), -50.0, dtype=dtype)
    student[:, 0] = 50
    student.requires_grad_()
    loss = rld_loss(student, -student.detach(), torch.tensor([0, 1, 2, 9]))
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and student.grad.isfinite().all()


@pytest.mark.parametrize('standardize', [False, True])
def test_class(standardize):
    torch.manual_seed(0)
    distiller = RLD(beta=2.0, temperature=2.0, alpha_temperature=None, standardize=standardize)
    assert distiller.alpha_temperature == 2.0
    size = torch.Size((2, 10))
    distiller.build(Shapes(dict(logits=size), dict(logits=size), 10))
    student, teacher, labels = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10), torch.arange(8)
    batch = Batch(torch.zeros(8, 1, 1, 1), labels=labels)

    def loss(epoch=20):
        return distiller(dict(logits=student), dict(logits=teacher), batch, Progress(epoch))['rld']
    pair = [standardize_logits(x) for x in (student, teacher)] if standardize else [student, teacher]
    torch.testing.assert_close(loss(), rld_loss(*pair, labels, temperature=2.0, alpha_temperature=2.0, beta=2.0))
    torch.testing.assert_close(loss(1) * 20, loss())
    first, optimizer = loss().item(), torch.optim.Adam([student], 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < 0.05 * first


def test_bad_input():
    with pytest.raises(ValueError, match='at least 2 classes'):
        rld_loss(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match='the student has 10, the teacher 3'):
        RLD().build(Shapes(dict(logits=torch.Size((2, 10))), dict(logits=torch.Size((2, 3))), 10))
    taps = dict(logits=torch.zeros(2, 10))
    with pytest.raises(ValueError, match='needs hard labels'):
        RLD()(taps, taps, Batch(torch.zeros(2, 1, 1, 1), labels=torch.full((2, 10), 0.1)), Progress())
