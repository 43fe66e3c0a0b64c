"""Progressive distillation: the target's definition, the rounds, and their resume."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.diffusion import CosineSchedule, Denoiser, alpha_sigma_of_logsnr, ddim_step, model_output
from zoo.distillers import (
    Batch,
    Progress,
    ProgressiveDistillation,
    progressive_distillation_loss,
    progressive_distillation_target,
)
from zoo.models import DiffusionUNet


def logsnr(*times):
    return [2 * (alpha / sigma).log() for alpha, sigma in (CosineSchedule().alpha_sigma(torch.tensor(t).double())
                                                           for t in times)]


@given(st.sampled_from(['v', 'eps', 'x']), st.integers(0, 100))
def test_one_step_to_the_target_is_two_of_the_teacher(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    z, first, second = torch.randn(3, 2, 1, 3, 3, generator=generator, dtype=torch.float64)
    t, mid, s = logsnr((0.9, 0.5), (0.8, 0.4), (0.7, 0.3))
    target = progressive_distillation_target(z, first, second, t, mid, s, torch.tensor([False, False]), prediction_type=kind)
    levels = [level for value in (t, mid, s) for level in alpha_sigma_of_logsnr(value)]
    z_mid = ddim_step(z, first, *levels[:4], prediction_type=kind)
    z_s = ddim_step(z_mid, second, *levels[2:], prediction_type=kind)
    torch.testing.assert_close(ddim_step(z, target, *levels[:2], *levels[4:], prediction_type='x0'), z_s)


def test_last_step_takes_the_clean_image():
    z, first, second = torch.randn(3, 2, 1, 3, 3, dtype=torch.float64)
    t, mid, s = logsnr((1.0, 0.5), (0.5, 0.25), (0.0, 0.0))
    target = progressive_distillation_target(z, first, second, t, mid, s, torch.tensor([True, True]), prediction_type='x')
    torch.testing.assert_close(target, second)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(dtype):
    z, first, second = (3 * torch.randn(3, 4, 1, 3, 3)).to(dtype)
    t, mid, s = (value.float().to(dtype) for value in logsnr((1.0, 0.98, 0.5, 0.04), (0.98, 0.97, 0.4, 0.02),
                                                             (0.96, 0.96, 0.3, 0.0)))
    target = progressive_distillation_target(z, first, second, t, mid, s, torch.tensor([False, False, False, True]))
    assert target.dtype == torch.float32 and torch.isfinite(target).all()
    out = first.clone().requires_grad_()
    loss = progressive_distillation_loss(out, z, target, t, weighting='constant')
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(out.grad).all()


@given(st.sampled_from(['v', 'eps', 'x']), st.floats(0.1, 0.9))
def test_weightings_are_multiples_of_the_distance_of_images(kind, t):
    generator = torch.Generator().manual_seed(1)
    z, out, target = torch.randn(3, 1, 1, 3, 3, generator=generator, dtype=torch.float64)
    snr_log, = logsnr((t,))
    snr = snr_log.exp().item()
    loss = {name: progressive_distillation_loss(out, z, target, snr_log, prediction_type=kind, weighting=name).item()
            for name in ('constant', 'snr', 'v_mse', 'snr_trunc')}
    assert loss['snr'] == pytest.approx(snr * loss['constant'], rel=1e-6)
    assert loss['v_mse'] == pytest.approx((1 + snr) * loss['constant'], rel=1e-6)
    assert loss['snr_trunc'] == pytest.approx(max(loss['snr'], loss['constant']), rel=1e-6)
    alpha, sigma = alpha_sigma_of_logsnr(snr_log)
    perfect = model_output(target, z, alpha, sigma, 'x0' if kind == 'x' else kind)
    assert progressive_distillation_loss(perfect, z, target, snr_log, prediction_type=kind).item() < 1e-12


def test_rounds():
    method = ProgressiveDistillation(start_steps=16, end_steps=1, shares=[1, 1, 2, 2])
    assert method.steps == (8, 4, 2, 1) and method.begins(60) == [0, 10, 20, 40]
    assert [method.round_at(i, 60) for i in (0, 9, 10, 39, 40, 59)] == [0, 0, 1, 2, 3, 3]
    for options in (dict(start_steps=12, end_steps=1), dict(start_steps=8, end_steps=0), dict(start_steps=8, shares=[1])):
        with pytest.raises(ValueError, match='steps|shares'):
            ProgressiveDistillation(**options)
    with pytest.raises(ValueError, match='weighting'):
        ProgressiveDistillation(weighting='snr_truncated')


def test_student_becomes_the_teacher():
    torch.manual_seed(0)
    nets = [DiffusionUNet(channels=8, groups=4) for _ in range(2)]
    method = ProgressiveDistillation(start_steps=4, init_from_teacher=False)

    class Shapes:
        student_net = type('Reader', (), dict(module=nets[0]))
    method.build(Shapes)
    images = torch.randn(3, 1, 8, 8)
    batch = Batch(images, extra=dict(noise=torch.randn_like(images), condition=None, null_condition=None))
    taps = [dict(denoiser=Denoiser(net)) for net in nets]
    assert not any(p.requires_grad for p in method.parameters())
    method(*taps, batch, Progress(iteration=0, iterations=10))
    torch.nn.init.ones_(nets[0].out.weight)
    method(*taps, batch, Progress(iteration=4, iterations=10))
    assert int(method.round) == 0 and not torch.equal(method.previous.out.weight, nets[0].out.weight)
    method(*taps, batch, Progress(iteration=5, iterations=10))
    assert int(method.round) == 1 and torch.equal(method.previous.out.weight, nets[0].out.weight)
    torch.nn.init.zeros_(nets[0].out.weight)
    method(*taps, batch, Progress(iteration=6, iterations=10))
    assert method.previous.out.weight.any(), 'the teacher changes with rounds only'
