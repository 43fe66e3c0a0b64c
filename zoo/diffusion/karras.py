"""Karras' noise levels and preconditioning, and what consistency models make of them (variance exploding: x + sigma n)."""
import math

import numpy as np
from torch import Tensor

from .parametrisation import broadcast_left, full_precision


def karras_sigmas(indices: Tensor, *, num_scales: int, sigma_min: float = 0.002, sigma_max: float = 80.0,
                  rho: float = 7.0) -> Tensor:
    """Noise levels by index; index 0 is the largest.

    Args:
        indices: ``(N,)``, integers in ``0..num_scales - 1`` (halves for progressive distillation).

    Returns:
        ``(N,)`` float64: the seventh power loses digits in float32.

    Source: Karras et al., NeurIPS 2022, arXiv:2206.00364, equation (5); openai/consistency_models@e32b69e counts the same way.
    """
    if num_scales < 2:
        raise ValueError(f'karras_sigmas needs num_scales >= 2, got {num_scales}.')
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (high + indices.double() / (num_scales - 1) * (low - high)) ** rho


def karras_scalings(sigma: Tensor, *, sigma_data: float = 0.5, sigma_min: float = 0.002,
                    boundary: bool = True) -> dict[str, Tensor]:
    """``c_skip``, ``c_out`` and ``c_in``, each like ``sigma``.

    Args:
        sigma: ``(N,)``.
        boundary: with the boundary condition ``f(x, sigma_min) = x`` of a consistency model; False for a teacher.

    Source: Song et al., ICML 2023, arXiv:2303.01469, appendix C; openai/consistency_models@e32b69e.
    """
    sigma, = full_precision(sigma)
    start = sigma_min if boundary else 0.0
    total = sigma**2 + sigma_data**2
    return {'c_skip': sigma_data**2 / ((sigma - start) ** 2 + sigma_data**2),
            'c_out': (sigma - start) * sigma_data / total.sqrt(), 'c_in': total.rsqrt()}


def karras_denoise(model_output: Tensor, x: Tensor, sigma: Tensor, *, sigma_data: float = 0.5, sigma_min: float = 0.002,
                   boundary: bool = True) -> Tensor:
    """``c_out F + c_skip x`` of a network's output F, ``(N, ...)``."""
    scale = karras_scalings(sigma, sigma_data=sigma_data, sigma_min=sigma_min, boundary=boundary)
    return broadcast_left(scale['c_out'], x) * model_output + broadcast_left(scale['c_skip'], x) * x


def karras_euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """``x + (x - denoised) / sigma (sigma_next - sigma)``."""
    slope = (x - denoised) / broadcast_left(sigma, x)
    return x + slope * broadcast_left(sigma_next - sigma, x)


def karras_heun_step(x: Tensor, denoised: Tensor, denoised_next: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Heun's second-order step.

    Args:
        x: at ``sigma``, ``(N, ...)``.
        denoised: the denoiser at ``(x, sigma)``.
        denoised_next: the denoiser at (the Euler step's result, ``sigma_next``).
        sigma, sigma_next: ``(N,)``, above 0.

    Source: Karras et al., NeurIPS 2022, arXiv:2206.00364, algorithm 1.
    """
    euler = karras_euler_step(x, denoised, sigma, sigma_next)
    slope = (x - denoised) / broadcast_left(sigma, x)
    slope_next = (euler - denoised_next) / broadcast_left(sigma_next, x)
    return x + (slope + slope_next) * broadcast_left(sigma_next - sigma, x) / 2


def karras_progressive_target(x: Tensor, denoised: Tensor, denoised_mid: Tensor, sigma: Tensor, sigma_mid: Tensor,
                              sigma_next: Tensor) -> Tensor:
    """Progressive distillation for variance-exploding models: the clean image with which one Euler step does what the
    teacher's two did.

    Args:
        x: at ``sigma``, ``(N, ...)``.
        denoised: the teacher at ``(x, sigma)``; ``denoised_mid``: at (the first step's result, ``sigma_mid``).

    Source: openai/consistency_models@e32b69e.
    """
    middle = karras_euler_step(x, denoised, sigma, sigma_mid)
    end = karras_euler_step(middle, denoised_mid, sigma_mid, sigma_next)
    return x - broadcast_left(sigma, x) * (end - x) / broadcast_left(sigma_next - sigma, x)


def consistency_renoise(x0: Tensor, noise: Tensor, *, sigma_next: float, sigma_min: float = 0.002) -> Tensor:
    """``x0 + sqrt(sigma_next^2 - sigma_min^2) noise``: between two steps of a consistency model's sampler.

    Source: Song et al., ICML 2023, arXiv:2303.01469, algorithm 1.
    """
    return x0 + math.sqrt(max(sigma_next**2 - sigma_min**2, 0.0)) * noise


def consistency_schedule(steps, *, target_ema_mode: str = 'fixed', start_ema: float, scale_mode: str = 'fixed',
                         start_scales: int, end_scales: int, total_steps: int,
                         distill_steps_per_iter: int) -> dict[str, np.ndarray]:
    """Averaging rate of the target network and number of noise levels at training steps.

    Args:
        steps: integers ``(n,)``.
        target_ema_mode: ``'fixed'`` or, with progressive scales, ``'adaptive'``.
        scale_mode: ``'fixed'``, ``'progressive'`` (more and more levels) or ``'progdist'`` (halved each
            ``distill_steps_per_iter`` steps, the last two rounds twice as long).

    Returns:
        ``ema`` float64 and ``num_scales`` int64, ``(n,)`` each.

    Raises:
        ValueError: for a pair of modes that the reference code does not know.

    Source: openai/consistency_models@e32b69e, script_util.create_ema_and_scales_fn.
    """
    known = {('fixed', 'fixed'), ('fixed', 'progressive'), ('adaptive', 'progressive'), ('fixed', 'progdist'),
             ('adaptive', 'progdist')}
    if (target_ema_mode, scale_mode) not in known:
        raise ValueError(f'target_ema_mode={target_ema_mode!r} does not go with scale_mode={scale_mode!r}: there are '
                         "fixed/fixed, fixed/progressive, adaptive/progressive and fixed/progdist.")
    ema, scales = [], []
    for step in np.asarray(steps).reshape(-1).tolist():
        if scale_mode == 'fixed':
            rate, count = start_ema, start_scales
        elif scale_mode == 'progressive':
            grown = step / total_steps * ((end_scales + 1) ** 2 - start_scales**2) + start_scales**2
            n = max(math.ceil(math.sqrt(grown) - 1), 1)
            count = n + 1
            rate = start_ema if target_ema_mode == 'fixed' else math.exp(math.log(start_ema) * start_scales / n)
        else:
            count, rate = max(start_scales // 2 ** (step // distill_steps_per_iter), 2), 1.0
            if count == 2:
                late = max(step - distill_steps_per_iter * (math.log2(start_scales) - 1), 0)
                count = max(2 // 2 ** int(late // (2 * distill_steps_per_iter)), 1)
        ema.append(rate)
        scales.append(count)
    return {'ema': np.asarray(ema, dtype=np.float64), 'num_scales': np.asarray(scales, dtype=np.int64)}
