"""DIST against numpy, its laws and its class."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import DIST, Batch, Progress, Shapes, dist_loss


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 6), st.floats(0.5, 5))
def test_against_numpy(seed, num_samples, num_classes, temperature):
    g = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(num_samples, num_classes, generator=g, dtype=torch.float64) for _ in range(2))
    s, t = ((x / temperature).softmax(1).numpy() for x in (student, teacher))

    def correlation(a, b):
        a, b = a - a.mean(), b - b.mean()
        return np.dot(a, b) / (np.sqrt(np.dot(a, a) * np.dot(b, b)) + 1e-8)
    inter = 1 - np.mean([correlation(a, b) for a, b in zip(s, t)])
    intra = 1 - np.mean([correlation(a, b) for a, b in zip(s.T, t.T)])
    loss = dist_loss(student, teacher, beta=0.5, gamma=2.0, temperature=temperature)
    assert float(loss) == pytest.approx(temperature**2 * (0.5 * inter + 2 * intra), rel=1e-7, abs=1e-9)
    order = torch.randperm(num_samples, generator=g)
    torch.testing.assert_close(dist_loss(student[order] + 3, teacher[order]), dist_loss(student, teacher))


def test_maps_are_rows_of_positions():
    student, teacher = torch.randn(2, 5, 3, 4).double(), torch.randn(2, 5, 3, 4).double()
    rows = [torch.stack([x[n, :, i, j] for n in range(2) for i in range(3) for j in range(4)])
            for x in (student, teacher)]
    torch.testing.assert_close(dist_loss(student, teacher), dist_loss(*rows))


def test_a_batch_of_one_and_constant_rows_are_finite():
    for student in (torch.randn(1, 10), torch.zeros(4, 10)):
        student = student.requires_grad_()
        loss = dist_loss(student, torch.randn(student.shape))
        loss.backward()
        assert loss.isfinite() and student.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.full((4, 10), -50.0, dtype=dtype)
    student[:, 0] = 50
    student.requires_grad_()
    loss = dist_loss(student, student.detach().flip(1))
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and student.grad.isfinite().all()


def test_class_learns_on_maps_of_different_sizes():
    torch.manual_seed(0)
    distiller = DIST(student_tap='head', teacher_tap='decode.0')
    student, teacher = torch.randn(2, 5, 6, 4, requires_grad=True), torch.randn(2, 5, 3, 8)
    distiller.build(Shapes({'head': student.shape}, {'decode.0': teacher.shape}))
    batch = Batch(torch.zeros(2, 1, 1, 1))

    def loss():
        return distiller({'head': student}, {'decode.0': teacher}, batch, Progress())['dist']
    first, optimizer = loss().item(), torch.optim.SGD([student], 20.0)
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < 0.5 * first


@pytest.mark.parametrize('shapes', [
    ((2, 10), (2, 5)), ((2, 1), (2, 1)), ((2, 5, 4, 4), (2, 5)), ((2, 9, 5), (2, 9, 5))])
def test_taps_that_do_not_fit_are_refused(shapes):
    student, teacher = map(torch.Size, shapes)
    with pytest.raises(ValueError, match='DIST needs taps'):
        DIST().build(Shapes(dict(logits=student), dict(logits=teacher), 10))
