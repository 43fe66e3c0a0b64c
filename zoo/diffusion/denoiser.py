"""A network with its schedule and parametrisation: what turns noise levels into clean images."""
from typing import Any

import torch
from torch import Tensor, nn

from .guidance import guided_prediction
from .karras import karras_scalings
from .parametrisation import broadcast_left, check_prediction_type, to_eps_x0
from .schedules import build_schedule


class Denoiser:
    """Calls a diffusion network at times in 0..1.

    The network is called as ``network(x, time, condition)`` and says by its attributes ``prediction_type`` and ``schedule``
    (a config, see :func:`build_schedule`) how it was trained. If it can also be guided, ``network.null_condition(condition)``
    gives the condition that means none. Gradient mode and autocast of the place where the denoiser was *made* hold for its
    calls; what it returns is float32 (float64 stays).

    Args:
        network: as above.
        schedule: in place of the network's own.
        prediction_type: in place of the network's own.
    """

    def __init__(self, network: nn.Module, schedule=None, prediction_type: str | None = None):
        self.network = network
        own = getattr(network, 'schedule', None) if schedule is None else schedule
        kind = getattr(network, 'prediction_type', None) if prediction_type is None else prediction_type
        if own is None or kind is None:
            raise ValueError(f'{type(network).__name__} is no diffusion network: it lacks `schedule` and `prediction_type`. '
                             'Use DiffusionUNet or DiffusersModel.')
        self.schedule, self.prediction_type = build_schedule(own), check_prediction_type(kind)
        self.grad = torch.is_grad_enabled()
        device = next((p.device for p in network.parameters()), torch.device('cpu')).type
        self._autocast = dict(device_type=device, enabled=torch.is_autocast_enabled(device),
                              dtype=torch.get_autocast_dtype(device))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((p.device for p in self.network.parameters()), torch.device('cpu'))

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise at times ``t``."""
        return self.schedule.alpha_sigma(t)

    def times(self, t: float | Tensor, x: Tensor) -> Tensor:
        """``t`` as a tensor ``(N,)`` beside the images."""
        t = torch.as_tensor(t, device=x.device, dtype=torch.float32 if x.dtype != torch.float64 else torch.float64)
        return t.expand(len(x)) if t.ndim == 0 else t

    def output(self, x: Tensor, t: float | Tensor, condition: Any = None, *, guidance_scale: float | Tensor | None = None,
               null_condition: Any = None, scale_input: Tensor | None = None) -> Tensor:
        """The network's output at ``x`` ``(N, ...)``, time ``t`` ``(N,)`` or a number.

        Args:
            condition: class labels ``(N,)``, text embeddings ``(N, L, D)`` or None.
            guidance_scale: None or 1: without guidance (one call); else the network is called twice.
            null_condition: in place of ``network.null_condition(condition)``, such as a negative prompt.
            scale_input: ``(N,)``, the guidance scale that a network with a guidance embedding is told.
        """
        t = self.times(t, x)
        time = self.schedule.time_input(t)
        extra = {} if scale_input is None else {'guidance': scale_input}
        guided = guidance_scale is not None and (isinstance(guidance_scale, Tensor) or guidance_scale != 1)
        if guided and condition is None:
            raise ValueError('Guidance needs a condition (labels or prompts), and there is none: leave guidance_scale out.')
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()), torch.autocast(**self._autocast):
            result = self.network(x, time, condition, **extra)
            if guided:
                null = self.network.null_condition(condition) if null_condition is None else null_condition
                other = self.network(x, time, null, **extra)
        wide = torch.float64 if result.dtype == torch.float64 else torch.float32
        if not guided:
            return result.to(wide)
        return guided_prediction(result.to(wide), other.to(wide), guidance_scale=guidance_scale)

    def __call__(self, x: Tensor, t: float | Tensor, condition: Any = None, **options) -> Tensor:
        """The clean image at ``x`` ``(N, ...)`` of time ``t``; options as of :meth:`output`."""
        t = self.times(t, x)
        alpha, sigma = self.alpha_sigma(t)
        return to_eps_x0(self.output(x, t, condition, **options), x, alpha, sigma, self.prediction_type)[1]

    def signal(self, eps: Tensor, t: float | Tensor, condition: Any = None, *, t_max: float = 1.0, **options) -> Tensor:
        """A BOOT student's signal at time ``t``: its input is always the noise, so its output is read as at ``t_max``.

        At ``t = t_max`` this is the denoiser itself.
        """
        alpha, sigma = self.alpha_sigma(self.times(t_max, eps))
        return to_eps_x0(self.output(eps, t, condition, **options), eps, alpha, sigma, self.prediction_type)[1]

    def at_sigma(self, x: Tensor, sigma: Tensor, condition: Any = None, **options) -> Tensor:
        """The clean image at ``x = x0 + sigma n`` (variance exploding), ``sigma`` ``(N,)``.

        ``x / sqrt(1 + sigma^2)`` is what a variance-preserving network has seen at the time whose ``sigma_t / alpha_t`` is
        ``sigma``; for a v-network this is Karras' preconditioning with ``sigma_data = 1``.
        """
        alpha = torch.rsqrt(1 + sigma**2)
        scaled = broadcast_left(alpha, x) * x
        output = self.output(scaled, self.schedule.time_of_sigma(sigma), condition, **options)
        return to_eps_x0(output, scaled, alpha, sigma * alpha, self.prediction_type)[1]

    def consistent(self, x: Tensor, sigma: Tensor, condition: Any = None, *, sigma_data: float = 0.5, sigma_min: float = 0.002,
                   **options) -> Tensor:
        """The network as a consistency model: ``c_out F + c_skip x`` with the boundary condition, where F is the output for
        which the same without boundary is :meth:`at_sigma`."""
        plain = karras_scalings(sigma, sigma_data=sigma_data, boundary=False)
        bound = karras_scalings(sigma, sigma_data=sigma_data, sigma_min=sigma_min, boundary=True)
        denoised = self.at_sigma(x, sigma, condition, **options)
        share = broadcast_left((sigma - sigma_min) / sigma, x)  # c_out with boundary over c_out without
        return share * (denoised - broadcast_left(plain['c_skip'], x) * x) + broadcast_left(bound['c_skip'], x) * x


class GaussianDenoiser:
    """The exact denoiser of data ``N(mean, std^2 I)``: a teacher for tests.

    Args:
        mean: ``(C, H, W)``.
        std: a number or 0-d.
    """

    def __init__(self, mean: Tensor, std: Tensor | float):
        self.mean, self.std = mean, std

    def __call__(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The expected clean image at ``x`` ``(N, C, H, W)``; levels ``(N,)`` or 0-d."""
        alpha, sigma = broadcast_left(alpha, x), broadcast_left(sigma, x)
        variance = torch.as_tensor(self.std, dtype=x.dtype, device=x.device) ** 2
        mean = self.mean.to(x.device, x.dtype)
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)
