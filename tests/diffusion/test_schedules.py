"""Noise schedules and parametrisations: laws, and agreement with diffusers where it is installed."""
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.diffusion import (
    PREDICTION_TYPES,
    CosineSchedule,
    DDPMSchedule,
    alpha_sigma_of_logsnr,
    build_schedule,
    cosine_alpha_sigma,
    ddpm_alpha_sigma,
    guided_prediction,
    karras_sigmas,
    model_output,
    to_eps_x0,
)

BETAS = ('linear', 'scaled_linear', 'squaredcos_cap_v2')
SCHEDULES = [CosineSchedule(), *(DDPMSchedule(beta_schedule=name) for name in BETAS)]


@given(st.floats(0, 1))
def test_variance_is_preserved_and_noise_grows(t):
    for schedule in SCHEDULES:
        times = torch.tensor([t * 0.9, t * 0.9 + 0.1], dtype=torch.float64)
        alpha, sigma = schedule.alpha_sigma(times)
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(2, dtype=torch.float64))
        assert sigma[1] > sigma[0]


def test_ends_of_the_cosine_schedule_are_exact_in_float32():
    found = cosine_alpha_sigma(torch.tensor([0.0, 1.0]))
    small = math.sqrt(1 / (1 + math.exp(20)))
    torch.testing.assert_close(found['sigma'][0], torch.tensor(small), rtol=1e-6, atol=0)
    torch.testing.assert_close(found['alpha'][1], torch.tensor(small), rtol=1e-6, atol=0)
    torch.testing.assert_close(found['logsnr'], torch.tensor([20.0, -20.0]), rtol=1e-6, atol=0)


def test_logsnr_gives_the_levels_back():
    found = cosine_alpha_sigma(torch.linspace(0, 1, 21, dtype=torch.float64))
    alpha, sigma = alpha_sigma_of_logsnr(found['logsnr'])
    torch.testing.assert_close(alpha, found['alpha'])
    torch.testing.assert_close(sigma, found['sigma'])


@pytest.mark.parametrize('schedule', SCHEDULES, ids=['cosine', *BETAS])
def test_time_of_sigma_is_the_inverse(schedule):
    t = schedule.snap(torch.linspace(0.05, 0.95, 19, dtype=torch.float64))
    alpha, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(schedule.time_of_sigma(sigma / alpha), t, rtol=1e-5, atol=1e-8)


def test_discrete_times():
    schedule = DDPMSchedule(10, alphas_cumprod=torch.linspace(0.95, 0.05, 10))
    t = torch.tensor([0.0, 0.1, 0.14, 1.0])
    assert schedule.time_input(t).tolist() == [0, 0, 0, 9]
    assert schedule.alpha_sigma(t)[1][0] == 0
    torch.testing.assert_close(schedule.alpha_sigma(t)[0] ** 2, torch.tensor([1.0, 0.95, 0.95, 0.05]))
    torch.testing.assert_close(schedule.snap(t), torch.tensor([0.0, 0.1, 0.1, 1.0]))


@given(st.sampled_from(PREDICTION_TYPES), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_parametrisations_round_trip(kind, t, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    found = cosine_alpha_sigma(torch.full((3,), t, dtype=torch.float64))
    alpha, sigma = (found[name].view(-1, 1, 1, 1) for name in ('alpha', 'sigma'))
    x_t = alpha * x0 + sigma * eps
    output = model_output(x0, x_t, found['alpha'], found['sigma'], kind)
    got_eps, got_x0 = to_eps_x0(output, x_t, found['alpha'], found['sigma'], kind)
    torch.testing.assert_close(got_x0, x0)
    torch.testing.assert_close(got_eps, eps)


def test_guidance():
    cond, uncond = torch.randn(2, 3, 1, 2, 2)
    assert torch.equal(guided_prediction(cond, uncond, guidance_scale=0.0), uncond)
    torch.testing.assert_close(guided_prediction(cond, uncond, guidance_scale=1.0), cond)
    each = guided_prediction(cond, uncond, guidance_scale=torch.tensor([0.0, 1.0, 3.0]))
    torch.testing.assert_close(each[2], guided_prediction(cond, uncond, guidance_scale=3.0)[2])
    assert torch.equal(each[0], uncond[0])


@pytest.mark.parametrize('schedule', ['cosin', dict(type='ddpm', beta_schedule='lin'), dict(type='cosine', beta_end=1.0), {}])
def test_unknown_schedules(schedule):
    with pytest.raises(ValueError, match='schedule'):
        build_schedule(schedule)


def test_unknown_prediction_type():
    with pytest.raises(ValueError, match='prediction_type'):
        to_eps_x0(*torch.zeros(2, 1, 1), torch.ones(1), torch.ones(1), 'epsilon')


@pytest.mark.parametrize('beta_schedule', BETAS)
def test_ddpm_schedules_of_diffusers(beta_schedule):
    diffusers = pytest.importorskip('diffusers')
    theirs = diffusers.DDPMScheduler(beta_schedule=beta_schedule).alphas_cumprod
    ours = ddpm_alpha_sigma(torch.arange(1000), beta_schedule=beta_schedule)
    torch.testing.assert_close(ours['alpha'].float() ** 2, theirs, rtol=2e-4, atol=1e-6)


def test_karras_sigmas_of_diffusers():
    diffusers = pytest.importorskip('diffusers')
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    scheduler.set_timesteps(18)
    ours = karras_sigmas(torch.arange(18), num_scales=18)
    torch.testing.assert_close(ours.float(), scheduler.sigmas[:18].float(), rtol=1e-4, atol=1e-6)
