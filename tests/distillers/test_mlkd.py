"""Multi-level logit distillation against a plain reading of the specification."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import MLKD, Batch, Progress, Shapes, mlkd_loss


def draw(num_samples, num_classes, dtype=torch.float64):
    torch.manual_seed(num_samples)
    return [3 * torch.randn(num_samples, num_classes, dtype=dtype) for _ in range(4)]


def slow_mlkd(sw, ss, tw, ts, temperature):
    sw, ss, tw, ts = (x.numpy() for x in (sw, ss, tw, ts))

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def kl(s, t, temp):
        p, q = softmax(t / temp), softmax(s / temp)
        return temp**2 * (p * np.log(p / q)).sum() / len(s)

    conf, per_class = softmax(tw).max(1), softmax(tw).sum(0)
    m, c = (conf <= np.percentile(conf, 50)).mean(), (per_class <= np.percentile(per_class, 50)).mean()
    temps = [temperature, 3, 5, 2, 6]
    kd = m * sum(kl(sw, tw, t) for t in temps)
    kd += kl(ss, ts, temperature) + kl(ss, ts, 3) + kl(ss, ts, 5) + kl(sw, tw, 2) + kl(sw, tw, 6)
    cc = bc = 0
    for t in temps:
        s, q = softmax(sw / t), softmax(tw / t)
        cc += ((q.T @ q - s.T @ s)**2).sum() / s.shape[1]
        bc += ((q @ q.T - s @ s.T)**2).sum() / s.shape[0]
    return dict(kd=kd, cc=c * cc, bc=m * bc)


@pytest.mark.parametrize('size', [(1, 4), (5, 7), (6, 10)])
@pytest.mark.parametrize('temperature', [1.0, 3.0, 4.0])
def test_against_numpy(size, temperature):
    views = draw(*size)
    terms = mlkd_loss(*views, temperature=temperature)
    for name, value in slow_mlkd(*views, temperature).items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-9), name


def test_zero_at_the_teacher_and_blind_to_batch_order():
    views = draw(6, 8)
    assert all(abs(float(v)) < 1e-12 for v in mlkd_loss(views[2], views[3], views[2], views[3]).values())
    order = torch.randperm(6)
    torch.testing.assert_close(mlkd_loss(*(v[order] for v in views)), mlkd_loss(*views))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('standardize', [False, True])
def test_half_precision(dtype, standardize):
    student = torch.full((4, 10), -50.0, dtype=dtype)
    student[:, 0] = 50
    student.requires_grad_()
    teacher = -student.detach()
    total = sum(mlkd_loss(student, student, teacher, teacher, temperature=1.0, standardize=standardize).values())
    total.backward()
    assert total.isfinite() and total.dtype == torch.float32 and student.grad.isfinite().all()


def test_class_learns_and_weighs_its_terms():
    sw, ss, tw, ts = draw(8, 10, torch.float32)
    weak, strong = sw.requires_grad_(), ss.requires_grad_()
    batch = Batch(torch.zeros(8, 1, 1, 1), labels=torch.arange(8))
    size = torch.Size((2, 10))
    shapes = Shapes(*({'logits': size, 'logits@strong': size} for _ in range(2)), 10)
    student, teacher = {'logits': weak, 'logits@strong': strong}, {'logits': tw, 'logits@strong': ts}
    distiller = MLKD(kd_weight=0.5, strong_ce_weight=0.2)
    distiller.build(shapes)
    assert distiller.needs.views == ('strong',) and not MLKD(strong_ce_weight=0).needs.labels
    terms = distiller(student, teacher, batch, Progress())
    torch.testing.assert_close(terms['ce_strong'], 0.2 * F.cross_entropy(strong, batch.labels))
    torch.testing.assert_close(terms['kd'], 0.5 * mlkd_loss(weak, strong, tw, ts)['kd'])
    assert set(MLKD(strong_ce_weight=0)(student, teacher, Batch(batch.images), Progress())) == {'kd', 'cc', 'bc'}

    first, optimizer = sum(terms.values()).item(), torch.optim.Adam([weak, strong], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        sum(distiller(student, teacher, batch, Progress()).values()).backward()
        optimizer.step()
    assert sum(distiller(student, teacher, batch, Progress()).values()) < 0.1 * first
    with pytest.raises(ValueError, match='the student has 10, the teacher 3'):
        distiller.build(Shapes(shapes.student, {'logits': torch.Size((2, 3))}, 10))
