"""What is special to CRLD: its masks, its class."""
import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import CRLD, Batch, Progress, Shapes, crld_loss, kd_loss


def draw(num_samples=6, num_classes=8, dtype=torch.float64):
    torch.manual_seed(0)
    return [3 * torch.randn(num_samples, num_classes, dtype=dtype) for _ in range(4)]


def test_masks_by_view_and_mean_over_all_samples():
    sw, ss, tw, ts = draw()
    weak, strong = (x.softmax(1).amax(1) for x in (tw, ts))
    tau_weak, tau_strong = float(weak.median()), float(strong.sort().values[-2])  # reached, not exceeded
    terms = crld_loss(sw, ss, tw, ts, temperature=2.0, tau_weak=tau_weak, tau_strong=tau_strong)
    within = cross = 0.0
    for n in range(len(sw)):
        a, b, c, d = (x[n:n + 1] for x in (sw, ss, tw, ts))
        if weak[n] >= tau_weak:
            within += kd_loss(a, c, temperature=2.0) + kd_loss(b, d, temperature=2.0)
        if strong[n] >= tau_strong:
            cross += kd_loss(b, c, temperature=2.0) + kd_loss(a, d, temperature=2.0)
    torch.testing.assert_close(terms['within'], within / 6)
    torch.testing.assert_close(terms['cross'], cross / 6)


def test_no_sure_sample_gives_zero_with_a_graph():
    views = draw()
    views[0].requires_grad_()
    terms = crld_loss(*views, tau_weak=1.1, tau_strong=1.1)
    sum(terms.values()).backward()
    assert terms['within'] == terms['cross'] == 0 and (views[0].grad == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.full((4, 10), -50.0, dtype=dtype)
    student[:, 0] = 50
    student.requires_grad_()
    teacher = -student.detach()
    total = sum(crld_loss(student, student, teacher, teacher, temperature=1.0, tau_weak=0, tau_strong=0).values())
    total.backward()
    assert total.isfinite() and total.dtype == torch.float32 and student.grad.isfinite().all()


def test_class_learns_and_weighs_its_terms():
    weak, strong, tw, ts = draw(8, 10, torch.float32)
    weak.requires_grad_(), strong.requires_grad_()
    batch = Batch(torch.zeros(8, 1, 1, 1), labels=torch.arange(8))
    student, teacher = {'logits': weak, 'logits@strong': strong}, {'logits': tw, 'logits@strong': ts}
    distiller = CRLD(tau_weak=0.1, strong_ce_weight=0.3)
    size = torch.Size((2, 10))
    distiller.build(Shapes(dict(logits=size), dict(logits=size), 10))
    terms = distiller(student, teacher, batch, Progress())
    plain = crld_loss(weak, strong, tw, ts, tau_weak=0.1)
    torch.testing.assert_close(terms, dict(within=2 * plain['within'], cross=0.5 * plain['cross'],
                                           ce_strong=0.3 * F.cross_entropy(strong, batch.labels)))
    assert distiller.needs.views == ('strong',) and not CRLD(strong_ce_weight=0).needs.labels
    assert set(CRLD(strong_ce_weight=0)(student, teacher, Batch(batch.images), Progress())) == {'within', 'cross'}

    first, optimizer = sum(terms.values()).item(), torch.optim.Adam([weak, strong], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        sum(distiller(student, teacher, batch, Progress()).values()).backward()
        optimizer.step()
    # the teacher's two views disagree, so that the loss cannot vanish
    assert sum(distiller(student, teacher, batch, Progress()).values()) < 0.3 * first
    with pytest.raises(ValueError, match='the student has 10, the teacher 3'):
        distiller.build(Shapes(dict(logits=size), dict(logits=torch.Size((2, 3))), 10))
