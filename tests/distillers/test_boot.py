"""BOOT: what its maths promises for a teacher whose path is known, and in half precision."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from zoo.diffusion import CosineSchedule, Denoiser, GaussianDenoiser, broadcast_left, model_output
from zoo.distillers import BOOT, Batch, Progress, boot_boundary_loss, boot_loss, boot_target
from zoo.models import DiffusionUNet

MEAN, STD = torch.tensor([[[0.2, -0.1], [0.4, 0.0]]], dtype=torch.float64), 0.3
SCHEDULE = CosineSchedule()


def exact_signal(eps, t):
    """The signal of Gaussian data on its path from ``eps``: derived from x_t's law, without the package's functions."""
    (alpha, sigma), (alpha_1, sigma_1) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(torch.ones_like(t))
    spread, spread_1 = (alpha**2 * STD**2 + sigma**2).sqrt(), (alpha_1**2 * STD**2 + sigma_1**2).sqrt()
    alpha, sigma, ratio, alpha_1 = (v.view(-1, 1, 1, 1) for v in (alpha, sigma, spread / spread_1, alpha_1))
    x_t = alpha * MEAN + ratio * (eps - alpha_1 * MEAN)
    return (x_t - sigma * eps) / alpha


def loss_of_the_exact_student(delta, **options):
    eps = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.3, 0.9, 64, dtype=torch.float64)
    s = t - delta
    (alpha_t, sigma_t), (alpha_s, sigma_s) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(s)
    teacher, y_t = GaussianDenoiser(MEAN, STD), exact_signal(eps, t)
    f_t = teacher(broadcast_left(alpha_t, eps) * y_t + broadcast_left(sigma_t, eps) * eps, alpha_t, sigma_t)
    levels = (alpha_t, sigma_t, alpha_s, sigma_s)
    if options.pop('second_order', False):
        euler = boot_target(y_t, f_t, *levels)
        options['teacher_x0_s'] = teacher(broadcast_left(alpha_s, eps) * euler + broadcast_left(sigma_s, eps) * eps, alpha_s,
                                          sigma_s)
    return boot_loss(exact_signal(eps, s), y_t, f_t, *levels, **options).item()


@pytest.mark.parametrize(('options', 'power'), [({}, 2), (dict(weighting='uniform'), 4), (dict(second_order=True), 4)])
def test_order_of_the_target(options, power):
    """Halving delta divides the exact student's loss by 2^power: Euler's error is delta^2, Heun's delta^3 a step."""
    wide, narrow = (loss_of_the_exact_student(delta, **options) for delta in (0.02, 0.01))
    assert wide / narrow == pytest.approx(2**power, rel=0.25)


class Linear(nn.Module):
    """A student that is linear in the noise, with coefficients at knots in time; the teacher's weights do not fit it."""
    prediction_type, schedule = 'x0', 'cosine'

    def __init__(self, knots=9):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(knots, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(knots, 1, 2, 2, dtype=torch.float64))

    def at(self, table, t):
        position = t.double() * (len(table) - 1)
        low = position.floor().long().clamp(max=len(table) - 2)
        return torch.lerp(table[low], table[low + 1], (position - low).view(-1, *[1] * (table.ndim - 1)))

    def forward(self, x, time, condition=None):
        return self.at(self.scale, time).view(-1, 1, 1, 1) * x + self.at(self.shift, time)


class GaussianNetwork(nn.Module):
    prediction_type, schedule = 'v', 'cosine'

    def forward(self, x, time, condition=None):
        alpha, sigma = SCHEDULE.alpha_sigma(time)
        return model_output(GaussianDenoiser(MEAN, STD)(x, alpha, sigma), x, alpha, sigma, 'v')


def batch_of(noise, condition=None, null=None):
    return Batch(noise, extra=dict(noise=noise, condition=condition, null_condition=null))


def test_the_loop_finds_the_one_step_generator():
    """Trained from noise alone, a linear student maps noise to mean + std noise."""
    torch.manual_seed(0)
    boot, student = BOOT(delta=0.1, weighting='uniform', second_order=True, init_from_teacher=False), Linear()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        taps = [dict(denoiser=Denoiser(net)) for net in (student, GaussianNetwork())]
        noise = torch.randn(32, 1, 2, 2, dtype=torch.float64)
        loss = sum(boot(*taps, batch_of(noise), Progress()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert student.scale[0].item() == pytest.approx(STD, abs=0.06)
    torch.testing.assert_close(student.shift[0].detach(), MEAN, atol=0.06, rtol=0)


@pytest.mark.parametrize('kind', ['v', 'x0'])
def test_boundary_loss_begins_at_zero(kind):
    torch.manual_seed(0)
    net = DiffusionUNet(channels=8, num_classes=3, groups=4, prediction_type=kind).eval()
    nn.init.normal_(net.out.weight, std=0.1)
    taps = dict(denoiser=Denoiser(net))
    labels = torch.tensor([0, 1, 2, 1])
    terms = BOOT(boundary_share=0.5)(taps, taps, batch_of(torch.randn(4, 1, 8, 8), labels), Progress())
    assert terms['boundary'].item() < 1e-10 and terms['boot'].item() > 1e-6


def test_gradient_reaches_the_student_at_s_alone():
    y_s, y_t, f = torch.randn(3, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True).unbind()
    leaves = [v.detach().requires_grad_() for v in (y_s, y_t, f)]
    levels = [torch.tensor(v).double() for v in ((0.3, 0.5), (0.95, 0.86), (0.6, 0.7), (0.8, 0.71))]
    boot_loss(*leaves, *levels).backward()
    assert leaves[0].grad is not None and leaves[1].grad is None and leaves[2].grad is None
    student = torch.randn(2, 3, requires_grad=True)
    boot_boundary_loss(student, leaves[2].detach().flatten(1)[:, :3].float()).backward()
    assert student.grad is not None


@given(st.sampled_from([torch.float16, torch.bfloat16]), st.floats(0.0, 0.96), st.sampled_from(['step', 'uniform']),
       st.booleans())
def test_half_precision_stays_finite(dtype, s, weighting, second_order):
    """Weights and ratios from one end of the schedule to the other, where alpha or sigma is 4.5e-5."""
    t = torch.tensor([s + 0.04, 1.0, 0.04])
    levels = [v.to(dtype) for u in (t, t - 0.04) for v in SCHEDULE.alpha_sigma(u)]
    generator = torch.Generator().manual_seed(0)
    y_s, y_t, f, f_s = (3 * torch.randn(4, 3, 1, 2, 2, generator=generator)).to(dtype)
    y_s.requires_grad_()
    loss = boot_loss(y_s, y_t, f, *levels, f_s if second_order else None, weighting=weighting)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(y_s.grad).all()


def test_weight_is_capped_and_finite_without_a_step():
    y, f = torch.randn(2, 3, 1, 2, 2)
    alpha, sigma = SCHEDULE.alpha_sigma(torch.tensor([0.5, 0.5, 0.5]))
    same = boot_loss(y, y, f, alpha, sigma, alpha, sigma)
    assert torch.isfinite(same)
    alpha_s, sigma_s = SCHEDULE.alpha_sigma(torch.tensor([0.49, 0.48, 0.47]))
    uncapped, capped, uniform = (boot_loss(y, y, f, alpha, sigma, alpha_s, sigma_s, **options) for options in
                                 ({}, dict(max_weight=1.0), dict(weighting='uniform')))
    assert uncapped > 10 * capped
    torch.testing.assert_close(capped, uniform)


def test_second_order_ends_with_euler():
    y, f, f_s = torch.randn(3, 2, 1, 2, 2, dtype=torch.float64)
    alpha, sigma = torch.tensor([0.8, 0.8]).double(), torch.tensor([0.6, 0.6]).double()
    alpha_s, sigma_s = torch.tensor([1.0, 0.9]).double(), torch.tensor([0.0, 0.43589]).double()
    heun, euler = (boot_target(y, f, alpha, sigma, alpha_s, sigma_s, more) for more in (f_s, None))
    assert torch.equal(heun[0], euler[0]) and not torch.allclose(heun[1], euler[1])


@pytest.mark.parametrize('times', ['continuous', 25])
def test_times(times):
    boot = BOOT(times=times, delta=0.04, t_min=0.0)
    t, s = boot.draw_times(500, 'cpu', SCHEDULE)
    assert (t > s).all() and s.min() >= 0 and t.max() <= 1
    torch.testing.assert_close(t - s, torch.full_like(t, 0.04), atol=1e-6, rtol=0)
    if times == 25:
        torch.testing.assert_close(t * 25, (t * 25).round(), atol=1e-4, rtol=0)


def test_drawn_guidance_is_told_to_the_student():
    torch.manual_seed(0)
    student = DiffusionUNet(channels=8, num_classes=3, groups=4, guidance_embedding=True)
    teacher = DiffusionUNet(channels=8, num_classes=3, groups=4)
    for parameter in teacher.parameters():  # as after training: at its start a block passes nothing on
        nn.init.normal_(parameter, std=0.1)
    boot = BOOT(guidance_scale=(1.0, 5.0))
    assert boot.adapt_student(student, teacher, None) is student
    assert torch.equal(student.out.weight, teacher.out.weight) and not student.guidance.weight.any()
    terms = boot(dict(denoiser=Denoiser(student)), dict(denoiser=Denoiser(teacher.eval().requires_grad_(False))),
                 batch_of(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])), Progress())
    sum(terms.values()).backward()
    assert student.guidance.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='guidance_embedding'):
        boot.adapt_student(teacher, teacher, None)


def test_student_starts_as_a_copy_without_dropout():
    teacher = DiffusionUNet(channels=8, num_classes=3, groups=4)
    student = BOOT().adapt_student(DiffusionUNet(channels=8, num_classes=3, groups=4, dropout=0.3), teacher, None)
    assert all(torch.equal(a, b) for a, b in zip(student.state_dict().values(), teacher.state_dict().values()))
    assert not any(m.p for m in student.modules() if isinstance(m, nn.Dropout))
    with pytest.raises(ValueError, match='differ in .* tensors'):
        BOOT().adapt_student(DiffusionUNet(channels=16, num_classes=3, groups=4), teacher, None)


@pytest.mark.parametrize('options', [dict(delta=0.0), dict(delta=1.0), dict(t_min=0.5, t_max=0.4), dict(weighting='steps'),
                                     dict(times=1), dict(boundary_share=0.0)])
def test_bad_options(options):
    with pytest.raises(ValueError, match='BOOT'):
        BOOT(**options)
