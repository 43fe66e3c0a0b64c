"""Samplers: exact where the denoiser is known, equal to diffusers' schedulers, and honest about bad input."""
import pytest
import torch
from torch import nn

from zoo.diffusion import (
    CosineSchedule,
    DDPMSchedule,
    Denoiser,
    GaussianDenoiser,
    ddim_step,
    ddpm_step,
    karras_euler_step,
    karras_heun_step,
    karras_scalings,
    pd_ddim_step,
    sample,
    signal_ode_solve,
    signal_ode_step,
    to_eps_x0,
)


class Exact(nn.Module):
    """The network of Gaussian data, in float64, as a v-, eps- or x0-predictor."""

    def __init__(self, kind='v', mean=0.2, std=0.3, schedule='cosine'):
        super().__init__()
        self.prediction_type, self.schedule, self.calls = kind, schedule, 0
        self.clean = GaussianDenoiser(torch.full((1, 2, 2), mean, dtype=torch.float64), std)

    def forward(self, x, time, condition=None):
        from zoo.diffusion import build_schedule, model_output
        self.calls += 1
        alpha, sigma = build_schedule(self.schedule).alpha_sigma(time)
        clean = self.clean(x, alpha, sigma)
        if condition is not None:
            clean = clean + 0.1 * condition.view(-1, 1, 1, 1)
        return model_output(clean, x, alpha, sigma, self.prediction_type)

    def null_condition(self, condition):
        return torch.zeros_like(condition)


def noise(count=4000, seed=0):
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('kind', ['v', 'eps', 'x0'])
@pytest.mark.parametrize(('sampler', 'steps'), [('ddim', 60), ('ddpm', 300), ('euler', 100), ('heun', 30)])
def test_samplers_draw_the_data(sampler, steps, kind):
    generator = torch.Generator().manual_seed(1)
    images = sample(Denoiser(Exact(kind)), noise(), sampler=sampler, steps=steps, clip=False, generator=generator)
    assert images.mean().item() == pytest.approx(0.2, abs=0.02) and images.std().item() == pytest.approx(0.3, rel=0.06)


def test_deterministic_samplers_follow_one_path():
    """Probability flow maps the noise to mean + std noise, up to the step size; Heun comes closer than Euler."""
    eps, errors = noise(50), {}
    for sampler in ('ddim', 'euler', 'heun'):
        images = sample(Denoiser(Exact()), eps, sampler=sampler, steps=40, clip=False)
        errors[sampler] = (images - (0.2 + 0.3 * eps)).abs().mean().item()
    assert errors['ddim'] < 0.05 and errors['heun'] < errors['euler'] / 3


def test_signal_ode_is_ddim():
    schedule = CosineSchedule()
    times = torch.linspace(1, 0, 9, dtype=torch.float64)
    alphas, sigmas = schedule.alpha_sigma(times)
    teacher, eps = GaussianDenoiser(torch.full((1, 2, 2), 0.2, dtype=torch.float64), 0.3), noise(5)
    solved = signal_ode_solve(teacher, eps, alphas, sigmas)
    drawn = sample(Denoiser(Exact()), eps, sampler='ddim', steps=8, clip=False)
    torch.testing.assert_close(solved, drawn, rtol=1e-4, atol=2e-4)  # apart from alpha(1), which is not quite 0


def test_signal_ode_step_is_a_ddim_step():
    y, f, eps = torch.randn(3, 4, 2, 3, 3, dtype=torch.float64)
    t, s = torch.tensor([0.9, 0.6, 0.3, 0.1]).double(), torch.tensor([0.8, 0.2, 0.29, 0.0]).double()
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (CosineSchedule().alpha_sigma(u) for u in (t, s))
    shape = (-1, 1, 1, 1)
    x_t = alpha_t.view(shape) * y + sigma_t.view(shape) * eps
    x_s = ddim_step(x_t, f, alpha_t, sigma_t, alpha_s, sigma_s, prediction_type='x0')
    ours = signal_ode_step(y, f, alpha_t, sigma_t, alpha_s, sigma_s)
    torch.testing.assert_close(alpha_s.view(shape) * ours + sigma_s.view(shape) * eps, x_s)


def test_ddpm_is_ddim_with_eta_one():
    x, out, extra = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    (a, b), (c, d) = (CosineSchedule().alpha_sigma(torch.full((2,), u, dtype=torch.float64)) for u in (0.7, 0.5))
    torch.testing.assert_close(ddpm_step(x, out, a, b, c, d, extra, prediction_type='v'),
                               ddim_step(x, out, a, b, c, d, extra, prediction_type='v', eta=1.0))
    with pytest.raises(ValueError, match='needs noise'):
        ddim_step(x, out, a, b, c, d, eta=0.5)


def test_pd_step_agrees_with_ddim():
    x, out = torch.randn(2, 2, 1, 4, 4, dtype=torch.float64)
    (a, b), (c, d) = (CosineSchedule().alpha_sigma(torch.full((2,), u, dtype=torch.float64)) for u in (0.7, 0.5))
    own = pd_ddim_step(x, out, 2 * (a / b).log(), 2 * (c / d).log())
    torch.testing.assert_close(own, ddim_step(x, out, a, b, c, d, prediction_type='v', clip_x0=True))
    clean = pd_ddim_step(x, out, 2 * (a / b).log(), 2 * (c / d).log(), is_last=True)
    torch.testing.assert_close(clean, to_eps_x0(out, x, a, b, 'v')[1].clamp(-1, 1))


def test_v_network_is_karras_preconditioning_with_unit_sigma_data():
    """x0 = c_skip x + c_out F with F = -v, at every level."""
    network = Exact('v')
    denoiser, sigma = Denoiser(network), torch.tensor([0.01, 0.5, 3.0, 60.0], dtype=torch.float64)
    x = noise(4) * sigma.view(-1, 1, 1, 1)
    scale = {k: v.view(-1, 1, 1, 1) for k, v in karras_scalings(sigma, sigma_data=1.0, boundary=False).items()}
    v = network(scale['c_in'] * x, denoiser.schedule.time_of_sigma(sigma))
    torch.testing.assert_close(denoiser.at_sigma(x, sigma), scale['c_skip'] * x - scale['c_out'] * v)


@pytest.mark.parametrize('sigma_data', [0.5, 1.0])
def test_consistency_boundary(sigma_data):
    """f(x, sigma_min) = x; far from it, the denoiser itself."""
    denoiser, x = Denoiser(Exact()), noise(2)
    low, high = torch.full((2,), 0.002, dtype=torch.float64), torch.full((2,), 80.0, dtype=torch.float64)
    torch.testing.assert_close(denoiser.consistent(x, low, sigma_data=sigma_data), x)
    torch.testing.assert_close(denoiser.consistent(80 * x, high, sigma_data=sigma_data), denoiser.at_sigma(80 * x, high),
                               rtol=1e-3, atol=1e-3)


def test_heun_agrees_with_euler_where_the_slope_is_constant():
    x, slope = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64)
    sigma, lower = torch.tensor([3.0, 2.0, 1.0]).double(), torch.tensor([2.0, 0.5, 0.1]).double()
    euler = karras_euler_step(x, x - sigma.view(-1, 1, 1, 1) * slope, sigma, lower)
    heun = karras_heun_step(x, x - sigma.view(-1, 1, 1, 1) * slope, euler - lower.view(-1, 1, 1, 1) * slope, sigma, lower)
    torch.testing.assert_close(heun, euler)


def test_guidance_calls_twice():
    network = Exact()
    denoiser, labels = Denoiser(network), torch.tensor([1.0, 2.0])
    plain, none = denoiser(noise(2), 0.5, labels), denoiser(noise(2), 0.5)
    network.calls = 0
    guided = denoiser(noise(2), 0.5, labels, guidance_scale=3.0)
    assert network.calls == 2
    torch.testing.assert_close(guided, none + 3 * (plain - none))
    denoiser(noise(2), 0.5, labels, guidance_scale=1)
    assert network.calls == 3
    with pytest.raises(ValueError, match='needs a condition'):
        denoiser(noise(2), 0.5, guidance_scale=2.0)


@pytest.mark.parametrize(('options', 'message'), [
    (dict(sampler='ddmi'), 'Did you mean'), (dict(steps=0), 'at least one'), (dict(sampler='boot', steps=2), 'one step'),
    (dict(sampler='consistency', steps=40), 'fewer than 40'), (dict(sampler='ddim', rho=7), 'rho')])
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        sample(Denoiser(Exact()), noise(1), **options)


def test_progress_is_told_and_generators_repeat():
    steps = []
    first, second = (sample(Denoiser(Exact()), noise(3), sampler='consistency', steps=3, advance=steps.append,
                            generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert steps == [1] * 6 and torch.equal(first, second)


@pytest.mark.parametrize(('kind', 'theirs'), [('eps', 'epsilon'), ('v', 'v_prediction'), ('x0', 'sample')])
@pytest.mark.parametrize('clip', [False, True])
def test_ddim_of_diffusers(kind, theirs, clip):
    """Ten trailing steps from 1000 levels."""
    diffusers = pytest.importorskip('diffusers')
    scheduler = diffusers.DDIMScheduler(prediction_type=theirs, clip_sample=clip, timestep_spacing='trailing',
                                        beta_schedule='scaled_linear')
    scheduler.set_timesteps(10)
    network = Exact(kind, schedule=dict(type='ddpm', alphas_cumprod=scheduler.alphas_cumprod, ))
    schedule = DDPMSchedule(alphas_cumprod=scheduler.alphas_cumprod)

    class AtSteps(Exact):
        def forward(self, x, time, condition=None):
            return super().forward(x, (time + 1).double() / 1000, condition)
    network = AtSteps(kind, std=2.0, schedule=dict(type='ddpm', alphas_cumprod=scheduler.alphas_cumprod))
    x = noise(3)
    ours = sample(Denoiser(network), x, sampler='ddim', steps=10, clip=clip)
    for step in scheduler.timesteps:
        output = network(x, step.expand(3))
        x = scheduler.step(output, step, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)
    assert schedule.time_input(torch.linspace(1, 0, 11)[:-1]).tolist() == scheduler.timesteps.tolist()
