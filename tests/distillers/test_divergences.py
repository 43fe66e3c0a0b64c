"""The divergences from the language-model literature: laws that tie them together, slow references, bad input."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import zoo.distillers as zoo
from zoo.distillers import Batch, DeltaKD, Progress, Shapes
from zoo.registry import DISTILLERS

NEEDS_T = {'taid_loss': dict(t=0.4)}
LOSSES = ['reverse_kl_loss', 'symmetric_kl_loss', 'skew_kl_loss', 'skew_rkl_loss', 'generalized_jsd_loss', 'tvd_loss',
          'adaptive_kl_loss', 'taid_loss', 'uld_loss']
CLASSES = ['ReverseKL', 'SymmetricKL', 'SkewKL', 'SkewRKL', 'GeneralizedJSD', 'TVD', 'AdaptiveKL', 'TAID', 'ULD']
SHAPES = Shapes({'logits': torch.Size([2, 6])}, {'logits': torch.Size([2, 6])}, num_classes=6)


def logits(seed, n=5, k=6, scale=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(n, k, generator=generator, dtype=torch.float64)).to(dtype)


def call(name, student, teacher, **kwargs):
    return getattr(zoo, name)(student, teacher, **{**NEEDS_T.get(name, {}), **kwargs})


def kl(p, q):
    return (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize('name', LOSSES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-20, 20))
def test_shift_of_logits_and_order_of_batch_and_classes_do_not_matter(name, seed, shift):
    student, teacher = logits(seed), logits(seed + 1)
    loss = call(name, student, teacher)
    rows, columns = torch.randperm(5), torch.randperm(6)
    torch.testing.assert_close(call(name, student + shift, teacher), loss)
    torch.testing.assert_close(call(name, student, teacher - shift), loss)
    torch.testing.assert_close(call(name, student[rows][:, columns], teacher[rows][:, columns]), loss)


@pytest.mark.parametrize('name', LOSSES)
def test_stationary_where_student_equals_teacher(name):
    teacher = logits(0)
    student = teacher.clone().requires_grad_()
    loss = call(name, student, teacher)
    loss.backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), rtol=0, atol=1e-12)
    assert all(call(name, teacher + 0.5 * logits(seed), teacher) > loss.detach() - 1e-12 for seed in range(1, 6))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', LOSSES)
def test_half_precision_is_finite_at_50_and_computed_in_float32(name, dtype):
    signs = torch.tensor([[1.0, -1, 1, -1], [-1, -1, 1, 1]])
    student = (50 * signs).to(dtype).requires_grad_()
    loss = call(name, student, (-50 * signs).to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('name', CLASSES)
def test_class_lowers_its_loss_on_free_logits_and_handles_one_sample(name):
    distiller = DISTILLERS.build(dict(type=name))
    distiller.build(SHAPES)
    student, teacher = logits(0, dtype=torch.float32).requires_grad_(), {'logits': logits(1, dtype=torch.float32)}
    optimizer = torch.optim.SGD([student], lr=1.0)
    distance = []
    for _ in range(40):
        (loss,) = distiller({'logits': student}, teacher, Batch(torch.zeros(5)), Progress(iterations=40)).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distance.append(zoo.uld_loss(student.detach(), teacher['logits']).item())
    assert distance[-1] < distance[0]
    (loss,) = distiller({'logits': student[:1]}, {'logits': teacher['logits'][:1]}, Batch(torch.zeros(1, 3, 8, 8)),
                        Progress()).values()
    assert loss.isfinite()


def test_skewed_divergences_against_plain_sums():
    student, teacher = logits(0), logits(1)
    q, p = student.softmax(1), teacher.softmax(1)
    for alpha in (0.0, 0.1, 0.7, 1.0):
        m = alpha * p + (1 - alpha) * q
        torch.testing.assert_close(zoo.skew_kl_loss(student, teacher, alpha=alpha), -(p * m.log()).sum(1).mean())
        m = (1 - alpha) * p + alpha * q
        torch.testing.assert_close(zoo.skew_rkl_loss(student, teacher, alpha=alpha), kl(q, m))
        expected = (1 - alpha) * -(p * q.log()).sum(1).mean() + alpha * kl(q, p)
        torch.testing.assert_close(zoo.symmetric_kl_loss(student, teacher, alpha=alpha), expected)
    torch.testing.assert_close(zoo.skew_rkl_loss(student, teacher, alpha=0.0), zoo.reverse_kl_loss(student, teacher))
    torch.testing.assert_close(zoo.tvd_loss(student, teacher), (p - q).abs().sum(1).mean() / 2)


def test_skew_kl_towards_the_teacher_alone_keeps_the_graph():
    student = logits(0).requires_grad_()
    zoo.skew_kl_loss(student, logits(1), alpha=1.0).backward()
    assert not student.grad.any()


def test_generalized_jsd_between_and_at_its_ends():
    student, teacher = logits(0), logits(1)
    q, p = (student / 2).softmax(1), (teacher / 2).softmax(1)
    torch.testing.assert_close(zoo.generalized_jsd_loss(student, teacher, beta=0, temperature=2.0), kl(p, q))
    torch.testing.assert_close(zoo.generalized_jsd_loss(student, teacher, beta=1, temperature=2.0), kl(q, p))
    for beta in (0.1, 0.5, 0.9):
        m = beta * p + (1 - beta) * q
        loss = zoo.generalized_jsd_loss(student, teacher, beta=beta, temperature=2.0)
        torch.testing.assert_close(loss, beta * kl(p, m) + (1 - beta) * kl(q, m))
        assert 0 < loss <= math.log(2)
    torch.testing.assert_close(zoo.generalized_jsd_loss(student, teacher), zoo.generalized_jsd_loss(teacher, student))


def slow_adaptive_kl(student, teacher, mu):
    total = 0.0
    for s, t in zip(student.softmax(1).tolist(), teacher.softmax(1).tolist()):
        order = sorted(range(len(t)), key=lambda k: -t[k])
        mass, head = 0.0, []
        for rank, k in enumerate(order):
            mass += t[k]
            if rank == 0 or mass <= mu:
                head.append(k)
        gaps = [abs(a - b) for a, b in zip(t, s)]
        weight = sum(gaps[k] for k in head) / sum(gaps)
        forward = sum(a * math.log(a / b) for a, b in zip(t, s))
        reverse = sum(b * math.log(b / a) for a, b in zip(t, s))
        total += weight * forward + (1 - weight) * reverse
    return total / len(student)


@pytest.mark.parametrize('mu', [0.0, 0.3, 0.5, 0.8, 0.95])
def test_adaptive_kl_against_a_slow_reference(mu):
    student, teacher = logits(2, n=8, scale=0.7), logits(3, n=8, scale=0.7)
    assert zoo.adaptive_kl_loss(student, teacher, mu=mu).item() == pytest.approx(slow_adaptive_kl(student, teacher, mu))
    assert zoo.adaptive_kl_loss(teacher, teacher, mu=mu) == 0


def test_taid_loss_interpolates_logits_with_a_constant_target():
    student, teacher = logits(0).requires_grad_(), logits(1)
    target = (0.7 * student.detach() + 0.3 * teacher).softmax(1)
    expected = -(target * student.log_softmax(1)).sum(1).mean()
    loss = zoo.taid_loss(student, teacher, t=0.3)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(grad, (student.detach().softmax(1) - target) / 5)


def slow_schedule(losses, t_start, t_end, alpha, beta, num_steps):
    t, momentum, previous, values = t_start, 0.0, None, []
    for j, loss in enumerate(losses):
        if previous is not None:
            momentum = beta * momentum + (1 - beta) * (previous - loss) / (previous + 1e-15)
            step = alpha / (1 + math.exp(-momentum)) * (1 - t)
            t = min(t_end, max(t_start + (t_end - t_start) * j / num_steps, t + step))
        previous = loss
        values.append(t)
    return values


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.floats(0, 0.9), st.floats(1e-4, 0.5),
       st.integers(1, 40))
def test_taid_schedule_never_falls_nor_lags_behind_the_line(losses, t_start, alpha, num_steps):
    options = dict(t_start=t_start, t_end=0.95, alpha=alpha, beta=0.9, num_steps=num_steps)
    values = zoo.taid_schedule(torch.tensor(losses, dtype=torch.float64), **options).tolist()
    assert values == pytest.approx(slow_schedule(losses, **options))
    assert all(b >= a for a, b in zip(values, values[1:]))
    line = [min(0.95, t_start + (0.95 - t_start) * j / num_steps) for j in range(len(losses))]
    assert all(t >= wanted - 1e-12 for t, wanted in zip(values, line))


def run_taid(distiller, seeds, progress):
    used = []
    for seed in seeds:
        used.append(distiller.t.item())
        distiller({'logits': logits(seed, dtype=torch.float32)}, {'logits': logits(50, dtype=torch.float32)},
                  Batch(torch.zeros(5, 3, 8, 8)), progress)
    return used


def test_taid_class_follows_the_schedule_and_resumes():
    progress = Progress(iterations=10)
    whole, first, second = (zoo.TAID(alpha=0.1) for _ in range(3))
    used = run_taid(whole, range(8), progress)
    assert used[:2] == pytest.approx([0.4, 0.4])  # the first step only remembers its loss
    run_taid(first, range(4), progress)
    second.load_state_dict(first.state_dict())
    assert run_taid(second, range(4, 8), progress) == used[4:]
    losses, student = [], zoo.TAID(alpha=0.1)
    for seed in range(8):
        losses.append(zoo.taid_loss(logits(seed, dtype=torch.float32), logits(50, dtype=torch.float32), t=student.t))
        student.advance(losses[-1], 10)
    assert used[1:] == pytest.approx(zoo.taid_schedule(torch.stack(losses), alpha=0.1, num_steps=10)[:-1].tolist())
    before = whole.eval().t.clone()
    run_taid(whole, range(3), progress)
    assert whole.t == before


def test_taid_without_adaptation_is_the_line():
    distiller = zoo.TAID(t_start=0.2, t_end=0.8, adaptive=False)
    used = run_taid(distiller, range(8), Progress(iterations=6))
    assert used == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])


def test_uld_with_other_classes_on_each_side():
    student, teacher = logits(0, k=4), logits(1, k=7)
    expected = 0.0
    for s, t in zip((student / 2).softmax(1).tolist(), (teacher / 3).softmax(1).tolist()):
        s = sorted(s, reverse=True) + [0.0] * 3
        expected += sum(abs(a - b) for a, b in zip(s, sorted(t, reverse=True))) / 5
    options = dict(student_temperature=2.0, teacher_temperature=3.0)
    assert zoo.uld_loss(student, teacher, **options).item() == pytest.approx(expected)
    swapped = zoo.uld_loss(teacher, student, student_temperature=3.0, teacher_temperature=2.0)
    assert swapped.item() == pytest.approx(expected)
    assert not zoo.ULD.same_classes


@pytest.mark.parametrize('config', [
    dict(type='SymmetricKL', alpha=1.5), dict(type='SkewKL', alpha=1.0), dict(type='SkewRKL', alpha=-0.1),
    dict(type='GeneralizedJSD', beta=2.0), dict(type='AdaptiveKL', mu=-1), dict(type='TAID', t_start=0.9, t_end=0.5),
    dict(type='TAID', num_steps=0)])
def test_values_out_of_range(config):
    with pytest.raises(ValueError, match=config['type']):
        DISTILLERS.build(config)


class Affine(nn.Module):
    def __init__(self, k=6):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.fc = nn.Linear(4, k)

    def forward(self, images):
        return self.fc(self.norm(images.flatten(1)))


def test_delta_kd_function():
    student, teacher, student_base, teacher_base = (logits(seed) for seed in range(4))
    shifted = student_base + 0.5 * (teacher - teacher_base)
    expected = 9 * F.kl_div((student / 3).log_softmax(1), (shifted / 3).softmax(1), reduction='batchmean')
    loss = zoo.delta_kd_loss(student, teacher, student_base, teacher_base, temperature=3.0, alpha=0.5)
    torch.testing.assert_close(loss, expected)
    same = zoo.delta_kd_loss(student, teacher, teacher_base, teacher_base, temperature=3.0)
    torch.testing.assert_close(same, zoo.kd_loss(student, teacher, temperature=3.0))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_delta_kd_in_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0]], dtype=dtype, requires_grad=True)
    teacher, base = torch.tensor([[-50.0, 50, 0]], dtype=dtype), torch.tensor([[50.0, -50, 0]], dtype=dtype)
    loss = zoo.delta_kd_loss(student, teacher, base, base)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_delta_kd_holds_frozen_bases_outside_its_state():
    student_base, teacher_base = Affine(), Affine()
    distiller = DeltaKD(student_base, teacher_base)
    distiller.build(SHAPES)
    assert not distiller.state_dict()
    assert not list(distiller.parameters())
    assert not any(p.requires_grad for net in (student_base, teacher_base) for p in net.parameters())
    distiller.train()
    images, student = torch.randn(5, 1, 2, 2), logits(0, dtype=torch.float32).requires_grad_()
    loss = distiller({'logits': student}, {'logits': logits(1, dtype=torch.float32)}, Batch(images), Progress())
    loss['delta_kd'].backward()
    assert student.grad.any()
    assert not student_base.norm.num_batches_tracked
    distiller.double()
    assert student_base.fc.weight.dtype == torch.float64


def test_delta_kd_builds_networks_from_configs_and_names_a_wrong_one():
    distiller = DeltaKD('resnet8', dict(type='resnet8'))
    distiller.build(SHAPES)
    assert distiller._bases[0].fc.out_features == 6
    wrong = DeltaKD(Affine(), Affine(k=9))
    wrong.build(SHAPES)
    with pytest.raises(ValueError, match='teacher_base'):
        wrong({'logits': logits(0)}, {'logits': logits(1)}, Batch(torch.randn(5, 1, 2, 2)), Progress())
