"""What is special to DKD; its values are checked by the golden cases."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import DKD, Batch, Progress, Shapes, dkd_loss, kd_loss


def draw(seed, num_samples=5, num_classes=7):
    g = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(num_samples, num_classes, generator=g, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.randint(num_classes, (num_samples,), generator=g)


def shapes(student=10, teacher=10):
    return Shapes(dict(logits=torch.Size((2, student))), dict(logits=torch.Size((2, teacher))), num_classes=student)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 8), st.floats(-50, 50))
def test_laws(seed, temperature, shift):
    student, teacher, labels = draw(seed)
    loss = dkd_loss(student, teacher, labels, temperature=temperature, alpha=0.7, beta=3.0)
    order = torch.randperm(len(labels))
    for same in (dkd_loss(student + shift, teacher - shift, labels, temperature=temperature, alpha=0.7, beta=3.0),
                 dkd_loss(student[order], teacher[order], labels[order], temperature=temperature, alpha=0.7, beta=3.0)):
        torch.testing.assert_close(same, loss)
    assert loss >= 0
    torch.testing.assert_close(dkd_loss(teacher + shift, teacher, labels), torch.zeros((), dtype=torch.float64))


def test_with_the_teachers_doubt_as_weight_it_is_kd():
    # equation 7 of the paper: KL = TCKD + (1 - p_target) * NCKD, by sample
    student, teacher, labels = draw(3)
    doubt = 1 - F.softmax(teacher / 2, 1).gather(1, labels[:, None])[:, 0]
    rows = [dkd_loss(student[i:i + 1], teacher[i:i + 1], labels[i:i + 1], temperature=2.0, beta=float(doubt[i]))
            for i in range(len(labels))]
    torch.testing.assert_close(torch.stack(rows).mean(), kd_loss(student, teacher, temperature=2.0))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_finite_for_far_logits_in_half_precision(dtype, temperature):
    student = torch.full((4, 10), -50.0, dtype=dtype)
    student[:, 0] = 50
    student.requires_grad_()
    teacher = -student.detach()
    loss = dkd_loss(student, teacher, torch.tensor([0, 1, 2, 9]), temperature=temperature)
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and student.grad.isfinite().all()


def test_warmup_and_learning():
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in draw(0, 8, 10))
    student.requires_grad_()
    distiller, batch = DKD(beta=2.0), Batch(torch.zeros(8, 1, 1, 1), labels=labels)
    distiller.build(shapes())

    def loss(epoch):
        return distiller(dict(logits=student), dict(logits=teacher), batch, Progress(epoch, 240))['dkd']
    torch.testing.assert_close(loss(1) * 20, loss(20))
    torch.testing.assert_close(loss(30), loss(20))
    first, optimizer = loss(20).item(), torch.optim.Adam([student], 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(20).backward()
        optimizer.step()
    assert loss(20) < 0.01 * first


def test_bad_input():
    with pytest.raises(ValueError, match='at least 2 classes'):
        dkd_loss(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match='the student has 10, the teacher 100'):
        DKD().build(shapes(10, 100))
    taps = dict(logits=torch.zeros(2, 10))
    for labels, message in ((None, 'has none'), (torch.full((2, 10), 0.1), 'needs hard labels')):
        with pytest.raises(ValueError, match=message):
            DKD()(taps, taps, Batch(torch.zeros(2, 1, 1, 1), labels=labels), Progress())
