"""Single steps of samplers and of BOOT's Signal-ODE."""
from collections.abc import Callable

from torch import Tensor

from .parametrisation import alpha_sigma_of_logsnr, broadcast_left, to_eps_x0


def ddim_step(x_t: Tensor, model_output: Tensor, alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor,
              noise: Tensor | None = None, *, prediction_type: str = 'eps', clip_x0: bool = False, rederive_eps: bool = True,
              eta: float = 0.0) -> Tensor:
    """One DDIM step from time t to s, towards less noise.

    Args:
        x_t, model_output: ``(N, ...)``.
        alpha_t, sigma_t, alpha_s, sigma_s: ``(N,)`` or 0-d.
        noise: ``(N, ...)``, only for ``eta > 0``.
        clip_x0: clamp the clean image to -1..1; with ``rederive_eps`` the noise follows from the clamped image.
        eta: 0 is deterministic, 1 is DDPM's ancestral step.

    Raises:
        ValueError: for ``eta > 0`` without noise.

    Source: Song et al., ICLR 2021, arXiv:2010.02502, equation (12).
    """
    eps, x0 = to_eps_x0(model_output, x_t, alpha_t, sigma_t, prediction_type)
    alpha_t, sigma_t = broadcast_left(alpha_t, x_t), broadcast_left(sigma_t, x_t)
    alpha_s, sigma_s = broadcast_left(alpha_s, x_t), broadcast_left(sigma_s, x_t)
    if clip_x0:
        x0 = x0.clamp(-1, 1)
        if rederive_eps:
            eps = (x_t - alpha_t * x0) / sigma_t
    if eta <= 0:
        return alpha_s * x0 + sigma_s * eps
    if noise is None:
        raise ValueError(f'A DDIM step with eta = {eta} needs noise.')
    std = eta * (sigma_s**2 / sigma_t**2 * (1 - alpha_t**2 / alpha_s**2)).clamp(min=0).sqrt()
    return alpha_s * x0 + (sigma_s**2 - std**2).clamp(min=0).sqrt() * eps + std * noise


def ddpm_step(x_t: Tensor, model_output: Tensor, alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor,
              noise: Tensor, *, prediction_type: str = 'eps', clip_x0: bool = False) -> Tensor:
    """One ancestral step: the mean of ``q(x_s | x_t, x0)`` plus noise of its (smaller, "fixed_small") variance.

    Source: Ho et al., NeurIPS 2020, arXiv:2006.11239, equations (6) and (7), written for any two times.
    """
    _, x0 = to_eps_x0(model_output, x_t, alpha_t, sigma_t, prediction_type)
    x0 = x0.clamp(-1, 1) if clip_x0 else x0
    alpha_t, sigma_t = broadcast_left(alpha_t, x_t), broadcast_left(sigma_t, x_t)
    alpha_s, sigma_s = broadcast_left(alpha_s, x_t), broadcast_left(sigma_s, x_t)
    ratio = alpha_t / alpha_s
    added = (1 - ratio**2).clamp(min=0)  # noise between s and t, in units of a variance-preserving process
    mean = (ratio * sigma_s**2 * x_t + alpha_s * added * x0) / sigma_t**2
    return mean + sigma_s / sigma_t * added.sqrt() * noise


def pd_ddim_step(z_t: Tensor, model_output: Tensor, logsnr_t: Tensor, logsnr_s: Tensor, *, prediction_type: str = 'v',
                 clip_x0: bool = True, is_last: bool = False) -> Tensor:
    """The DDIM step of progressive distillation's sampler, between log-SNRs.

    Args:
        z_t, model_output: ``(N, ...)``.
        logsnr_t, logsnr_s: ``(N,)``.
        clip_x0: clamp the clean image to -1..1 and derive the noise from it anew.
        is_last: return the clean image itself.

    Source: Salimans and Ho, ICLR 2022, arXiv:2202.00512; google-research/google-research@1d4d2f1, dpm.py.
    """
    alpha_t, sigma_t = alpha_sigma_of_logsnr(logsnr_t)
    alpha_s, sigma_s = alpha_sigma_of_logsnr(logsnr_s)
    if is_last:
        _, x0 = to_eps_x0(model_output, z_t, alpha_t, sigma_t, prediction_type)
        return x0.clamp(-1, 1) if clip_x0 else x0
    return ddim_step(z_t, model_output, alpha_t, sigma_t, alpha_s, sigma_s, prediction_type=prediction_type, clip_x0=clip_x0)


def signal_ode_ratio(alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor, sigma_s: Tensor) -> Tensor:
    """``r = (sigma_s alpha_t) / (sigma_t alpha_s) = exp(lambda_s - lambda_t)``, from the four values: the two logarithms
    may be infinite."""
    return (sigma_s * alpha_t) / (sigma_t * alpha_s)


def signal_ode_step(y_t: Tensor, x0_pred: Tensor, alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor,
                    sigma_s: Tensor) -> Tensor:
    """The Signal-ODE from t to s with the denoiser's value held: ``f + r (y_t - f)``, identical to DDIM.

    Args:
        y_t: signal ``(x_t - sigma_t eps) / alpha_t``, ``(N, ...)``.
        x0_pred: the denoiser's clean image at ``alpha_t y_t + sigma_t eps``, ``(N, ...)``.

    Source: Gu et al., arXiv:2306.05544 (BOOT). No reference code.
    """
    ratio = broadcast_left(signal_ode_ratio(alpha_t, sigma_t, alpha_s, sigma_s), y_t)
    return x0_pred + ratio * (y_t - x0_pred)


def signal_ode_solve(teacher: Callable[[Tensor, Tensor, Tensor], Tensor], eps: Tensor, alphas: Tensor,
                     sigmas: Tensor) -> Tensor:
    """The teacher's whole path in signal space: what a perfect BOOT student returns for ``eps``.

    Args:
        teacher: ``teacher(x, alpha, sigma) -> x0`` with 0-d levels.
        eps: ``(N, ...)``.
        alphas, sigmas: ``(T + 1,)``, from much noise to little.

    Returns:
        The last signal, like ``eps``: the result of DDIM with T steps where the first level is pure noise.
    """
    y = teacher(eps, alphas[0], sigmas[0])
    for i in range(len(alphas) - 1):
        x = alphas[i].to(eps.dtype) * y + sigmas[i].to(eps.dtype) * eps
        y = signal_ode_step(y, teacher(x, alphas[i], sigmas[i]), alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1])
    return y
