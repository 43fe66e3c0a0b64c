"""Noise schedules: how much signal and noise there is at a time."""
import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from zoo.registry import unknown

from .parametrisation import full_precision


def cosine_alpha_sigma(t: Tensor, *, logsnr_min: float = -20.0, logsnr_max: float = 20.0) -> dict[str, Tensor]:
    """The cosine schedule with bounded log-SNR.

    Args:
        t: any shape, in 0..1; 1 is noise.
        logsnr_min, logsnr_max: of ``log(alpha^2 / sigma^2)`` at t = 1 and t = 0.

    Returns:
        ``alpha``, ``sigma`` and ``logsnr``, like ``t`` (float32 for half precision). Computed in float64: near t = 1 float32
        leaves three digits of alpha.

    Source: Salimans and Ho, ICLR 2022, arXiv:2202.00512; google-research/google-research@1d4d2f1 diffusion_distillation.
    """
    low = math.atan(math.exp(-logsnr_max / 2))
    span = math.atan(math.exp(-logsnr_min / 2)) - low
    t, = full_precision(t)
    angle = span * t.double() + low
    found = {'alpha': angle.cos(), 'sigma': angle.sin(), 'logsnr': -2 * angle.tan().log()}
    return {name: value.to(t.dtype) for name, value in found.items()}


@lru_cache(maxsize=16)
def _alphas_cumprod(num_train_timesteps: int, beta_schedule: str, beta_start: float, beta_end: float) -> Tensor:
    n = num_train_timesteps
    if beta_schedule == 'linear':
        betas = torch.linspace(beta_start, beta_end, n, dtype=torch.float64)
    elif beta_schedule == 'scaled_linear':
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, n, dtype=torch.float64) ** 2
    elif beta_schedule == 'squaredcos_cap_v2':
        level = ((torch.arange(n + 1, dtype=torch.float64) / n + 0.008) / 1.008 * math.pi / 2).cos() ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        raise ValueError(unknown('beta_schedule', beta_schedule, ('linear', 'scaled_linear', 'squaredcos_cap_v2')))
    return (1 - betas).cumprod(0)


def ddpm_alpha_sigma(timesteps: Tensor, *, num_train_timesteps: int = 1000, beta_schedule: str = 'linear',
                     beta_start: float = 1e-4, beta_end: float = 0.02) -> dict[str, Tensor]:
    """The discrete schedules of DDPM.

    Args:
        timesteps: int64, any shape, in ``0..num_train_timesteps - 1``.
        beta_schedule: ``'linear'``, ``'scaled_linear'`` or ``'squaredcos_cap_v2'``.

    Returns:
        ``alpha`` and ``sigma``, float64, like ``timesteps``.

    Raises:
        ValueError: for an unknown schedule.

    Source: Ho et al., NeurIPS 2020, arXiv:2006.11239; Nichol and Dhariwal, ICML 2021, arXiv:2102.09672 (squared cosine).
    """
    table = _alphas_cumprod(num_train_timesteps, beta_schedule, beta_start, beta_end)
    level = table.to(timesteps.device)[timesteps]
    return {'alpha': level.sqrt(), 'sigma': (1 - level).sqrt()}


class CosineSchedule:
    """:func:`cosine_alpha_sigma` for continuous times; networks are told ``t`` itself."""

    def __init__(self, logsnr_min: float = -20.0, logsnr_max: float = 20.0):
        self.logsnr_min, self.logsnr_max = logsnr_min, logsnr_max

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``alpha`` and ``sigma`` like ``t``, in 0..1."""
        found = cosine_alpha_sigma(t, logsnr_min=self.logsnr_min, logsnr_max=self.logsnr_max)
        return found['alpha'], found['sigma']

    def time_input(self, t: Tensor) -> Tensor:
        """What the network is told."""
        return t

    def snap(self, t: Tensor) -> Tensor:
        """The nearest time that the schedule knows: any."""
        return t

    def time_of_sigma(self, sigma: Tensor) -> Tensor:
        """The time at which ``sigma_t / alpha_t`` is ``sigma``, clamped to 0..1."""
        low = math.atan(math.exp(-self.logsnr_max / 2))
        span = math.atan(math.exp(-self.logsnr_min / 2)) - low
        return ((sigma.double().atan() - low) / span).clamp(0, 1).to(sigma.dtype)


class DDPMSchedule:
    """:func:`ddpm_alpha_sigma` on times 0..1: ``t`` is timestep ``round(t n) - 1``, and ``t = 0`` the clean image.

    A grid of equal steps in ``t`` is the "trailing" spacing of diffusers' schedulers with the final alpha set to one.

    Args:
        num_train_timesteps: n.
        alphas_cumprod: ``(n,)`` of a trained model, in place of the other arguments.
    """

    def __init__(self, num_train_timesteps: int = 1000, beta_schedule: str = 'linear', beta_start: float = 1e-4,
                 beta_end: float = 0.02, alphas_cumprod: Tensor | None = None):
        if alphas_cumprod is None:
            alphas_cumprod = _alphas_cumprod(num_train_timesteps, beta_schedule, beta_start, beta_end)
        alphas_cumprod = torch.as_tensor(alphas_cumprod).double().cpu()
        self.num_train_timesteps = len(alphas_cumprod)
        self.table = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod])

    def _position(self, t: Tensor) -> Tensor:
        return (t.double() * self.num_train_timesteps).round().long().clamp(0, self.num_train_timesteps)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``alpha`` and ``sigma`` like ``t``, in 0..1."""
        level = self.table.to(t.device)[self._position(t)]
        return level.sqrt().to(t.dtype), (1 - level).sqrt().to(t.dtype)

    def time_input(self, t: Tensor) -> Tensor:
        """The integer timestep; the first one for ``t = 0``."""
        return (self._position(t) - 1).clamp(min=0)

    def snap(self, t: Tensor) -> Tensor:
        """The nearest time that the schedule knows: a multiple of 1/n."""
        return (self._position(t).double() / self.num_train_timesteps).to(t.dtype)

    def time_of_sigma(self, sigma: Tensor) -> Tensor:
        """The time whose ``sigma_t / alpha_t`` is nearest to ``sigma`` in the logarithm."""
        table = self.table[1:].to(sigma.device)
        ratios = ((1 - table) / table).log() / 2
        wanted = sigma.double().log()
        nearest = (wanted[..., None] - ratios).abs().argmin(-1)
        return ((nearest + 1).double() / self.num_train_timesteps).to(sigma.dtype)


def build_schedule(schedule: 'str | Mapping | CosineSchedule | DDPMSchedule') -> 'CosineSchedule | DDPMSchedule':
    """A schedule from its name or config: ``'cosine'``, ``'ddpm'``, ``dict(type='ddpm', beta_schedule='scaled_linear')``.

    Raises:
        ValueError: for an unknown name or option.
    """
    if isinstance(schedule, (CosineSchedule, DDPMSchedule)):
        return schedule
    options = dict(type=schedule) if isinstance(schedule, str) else dict(schedule)
    kinds = {'cosine': CosineSchedule, 'ddpm': DDPMSchedule}
    name = options.pop('type', None)
    if name not in kinds:
        raise ValueError(unknown('schedule', str(name), kinds))
    try:
        return kinds[name](**options)
    except TypeError as error:
        raise ValueError(f'schedule {name!r}: {error}.') from None
