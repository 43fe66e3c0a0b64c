"""Whole samplers: from noise to images with a :class:`zoo.diffusion.Denoiser`."""
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.registry import unknown

from .denoiser import Denoiser
from .karras import consistency_renoise, karras_euler_step, karras_heun_step, karras_sigmas
from .steps import ddim_step, ddpm_step

Advance = Callable[[int], None]


def _draw(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def _by_time(step):
    """A sampler on equal steps of time from 1 to 0; ``step(x, x0, levels t, levels s, noise)``."""
    def run(denoiser: Denoiser, x: Tensor, condition, steps: int, advance: Advance, *, begin: float = 1.0, clip: bool = True,
            generator: torch.Generator | None = None, options: dict, **settings) -> Tensor:
        times = denoiser.schedule.snap(torch.linspace(begin, 0, steps + 1, dtype=torch.float64, device=x.device))
        alphas, sigmas = denoiser.alpha_sigma(times)
        for i in range(steps):
            x0 = denoiser(x, times[i], condition, **options)
            x = step(x, x0, alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1], clip, generator, **settings)
            advance(1)
        return x
    return run


def _ddim(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, clip, generator, eta: float = 0.0):
    noise = _draw(x, generator) if eta > 0 else None
    return ddim_step(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, noise, prediction_type='x0', clip_x0=clip, eta=eta)


def _ddpm(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, clip, generator):
    return ddpm_step(x, x0, alpha_t, sigma_t, alpha_s, sigma_s, _draw(x, generator), prediction_type='x0', clip_x0=clip)


def _karras(second_order: bool):
    """Karras et al.'s deterministic sampler on variance-exploding noise levels."""
    def run(denoiser: Denoiser, x: Tensor, condition, steps: int, advance: Advance, *, sigma_min: float = 0.002,
            sigma_max: float = 80.0, rho: float = 7.0, clip: bool = True, generator: torch.Generator | None = None,
            options: dict) -> Tensor:
        count = torch.arange(steps, device=x.device)
        sigmas = karras_sigmas(count, num_scales=max(steps, 2), sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).to(x.dtype)
        x = sigmas[0] * x

        def clean(x, sigma):
            x0 = denoiser.at_sigma(x, sigma.expand(len(x)), condition, **options)
            return x0.clamp(-1, 1) if clip else x0
        for i, sigma in enumerate(sigmas):
            x0 = clean(x, sigma)
            if i + 1 == steps:
                x = x0  # the last step ends at sigma = 0, where Euler's step is the denoiser
            elif second_order:
                euler = karras_euler_step(x, x0, sigma, sigmas[i + 1])
                x = karras_heun_step(x, x0, clean(euler, sigmas[i + 1]), sigma, sigmas[i + 1])
            else:
                x = karras_euler_step(x, x0, sigma, sigmas[i + 1])
            advance(1)
        return x
    return run


def _consistency(denoiser: Denoiser, x: Tensor, condition, steps: int, advance: Advance, *, num_scales: int = 40,
                 sigma_data: float = 0.5, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0,
                 clip: bool = True, generator: torch.Generator | None = None, options: dict) -> Tensor:
    if steps >= num_scales:
        raise ValueError(f'A consistency model of {num_scales} noise levels takes fewer than {num_scales} steps, not {steps}.')
    indices = torch.linspace(0, num_scales - 1, steps + 1).round()[:-1]
    sigmas = karras_sigmas(indices, num_scales=num_scales, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).tolist()
    x = sigmas[0] * x
    for i, sigma in enumerate(sigmas):
        level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        x0 = denoiser.consistent(x, level, condition, sigma_data=sigma_data, sigma_min=sigma_min, **options)
        x0 = x0.clamp(-1, 1) if clip else x0
        x = consistency_renoise(x0, _draw(x, generator), sigma_next=sigmas[i + 1], sigma_min=sigma_min) \
            if i + 1 < steps else x0
        advance(1)
    return x


def _boot(denoiser: Denoiser, x: Tensor, condition, steps: int, advance: Advance, *, t_min: float = 0.0, t_max: float = 1.0,
          clip: bool = True, generator: torch.Generator | None = None, options: dict) -> Tensor:
    if steps != 1:
        raise ValueError(f'A BOOT student draws in one step; it has no mode with {steps} steps.')
    y = denoiser.signal(x, t_min, condition, t_max=t_max, **options)
    advance(1)
    return y


#: ``ddim`` (option ``eta``), ``ddpm``, ``euler``, ``heun`` (Karras' levels), ``consistency`` and ``boot`` (of such students)
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    'ddim': _by_time(_ddim), 'ddpm': _by_time(_ddpm), 'euler': _karras(False), 'heun': _karras(True),
    'consistency': _consistency, 'boot': _boot}


@torch.no_grad()
def sample(denoiser: Denoiser, noise: Tensor, condition: Any = None, *, sampler: str = 'ddim', steps: int = 50,
           guidance_scale: float | None = None, null_condition: Any = None, scale_input: Tensor | None = None,
           clip: bool = True, generator: torch.Generator | None = None, advance: Advance | None = None, **settings) -> Tensor:
    """Images from noise.

    Args:
        denoiser: of the network.
        noise: standard normal, ``(N, C, H, W)``; it determines the images of the deterministic samplers.
        condition: labels ``(N,)``, embeddings, or None.
        sampler: of :data:`SAMPLERS`; further settings are its own (``eta``, ``sigma_max``, ``num_scales`` ...).
        steps: of the sampler; ``heun`` calls the network twice in all but the last.
        guidance_scale, null_condition, scale_input: see :meth:`Denoiser.output`.
        clip: clamp clean images to -1..1 on the way and at the end; False for latents.
        generator: of further noise; torch's global one where it is None.
        advance: called with 1 after each step, for a progress bar.

    Returns:
        ``(N, C, H, W)`` in -1..1 where ``clip``.

    Raises:
        ValueError: for an unknown sampler, setting or number of steps.
    """
    if sampler not in SAMPLERS:
        raise ValueError(unknown('sampler', sampler, SAMPLERS))
    if steps < 1:
        raise ValueError(f'A sampler takes at least one step, not {steps}.')
    options = dict(guidance_scale=guidance_scale, null_condition=null_condition, scale_input=scale_input)
    try:
        images = SAMPLERS[sampler](denoiser, noise, condition, steps, advance or (lambda count: None), clip=clip,
                                   generator=generator, options=options, **settings)
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise ValueError(f'sampler {sampler!r}: {error}.') from None
    return images.clamp(-1, 1) if clip else images
