"""BOOT: bootstrapped data-free distillation of diffusion models.

Gu, Wang, Zhai, Zhang, Liu, Susskind: Data-free Distillation of Diffusion Models with Bootstrapping, ICML 2024 (first at the
SPIGM workshop, ICML 2023, as "BOOT: Data-free Distillation of Denoising Diffusion Models with Bootstrapping"),
arXiv:2306.05544. No reference code: our reading of the paper. Our choices where it is silent: the second-order target, the
reading of velocity and noise networks, the weight's factor beside the squared step (1), and the values of delta and beta.
"""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.diffusion import broadcast_left, signal_ode_ratio, signal_ode_step
from zoo.diffusion.parametrisation import full_precision
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['BOOT', 'boot_boundary_loss', 'boot_loss', 'boot_target', 'copy_teacher_weights']


@torch.no_grad()
def boot_target(student_signal_t: Tensor, teacher_x0: Tensor, alpha_t: Tensor, sigma_t: Tensor, alpha_s: Tensor,
                sigma_s: Tensor, teacher_x0_s: Tensor | None = None) -> Tensor:
    """The signal at s: one step of the Signal-ODE from the student's own signal at t.

    Args:
        student_signal_t: y_t, ``(N, ...)``.
        teacher_x0: the teacher's clean image at ``alpha_t y_t + sigma_t eps``, ``(N, ...)``.
        alpha_t, sigma_t, alpha_s, sigma_s: ``(N,)`` or 0-d.
        teacher_x0_s: for the second-order step: the teacher at s, at the first-order result (``signal_ode_step``); samples
            whose ``sigma_s`` is 0 keep the first order.

    Returns:
        ``(N, ...)``, without gradient; float32 for half precision.
    """
    student_signal_t, teacher_x0, teacher_x0_s, alpha_t, sigma_t, alpha_s, sigma_s = full_precision(
        student_signal_t, teacher_x0, teacher_x0_s, alpha_t, sigma_t, alpha_s, sigma_s)
    euler = signal_ode_step(student_signal_t, teacher_x0, alpha_t, sigma_t, alpha_s, sigma_s)
    if teacher_x0_s is None:
        return euler
    alpha_t, sigma_t, alpha_s, sigma_s = (torch.as_tensor(level) for level in (alpha_t, sigma_t, alpha_s, sigma_s))
    clean = sigma_s == 0
    noise_t, noise_s = sigma_t / alpha_t, torch.where(clean, torch.ones_like(sigma_s), sigma_s / alpha_s)
    slope_t = (student_signal_t - teacher_x0) / broadcast_left(noise_t, euler)
    slope_s = (euler - teacher_x0_s) / broadcast_left(noise_s, euler)
    heun = student_signal_t + broadcast_left(noise_s - noise_t, euler) * (slope_t + slope_s) / 2
    return torch.where(broadcast_left(clean.float(), euler) > 0, euler, heun)


def boot_loss(student_signal_s: Tensor, student_signal_t: Tensor, teacher_x0: Tensor, alpha_t: Tensor, sigma_t: Tensor,
              alpha_s: Tensor, sigma_s: Tensor, teacher_x0_s: Tensor | None = None, *, weighting: str = 'step',
              max_weight: float | None = None) -> Tensor:
    """Squared distance of the student's signal at s from :func:`boot_target`.

    Args:
        student_signal_s: ``(N, ...)``, the only one with a gradient.
        weighting: ``'step'`` divides by the squared step ``1 - r`` of the ODE; ``'uniform'`` does not.
        max_weight: cap of the weight.

    Raises:
        ValueError: for another weighting.
    """
    if weighting not in ('step', 'uniform'):
        raise ValueError(f"boot_loss: weighting is 'step' or 'uniform', not {weighting!r}.")
    target = boot_target(student_signal_t, teacher_x0, alpha_t, sigma_t, alpha_s, sigma_s, teacher_x0_s)
    student_signal_s, alpha_t, sigma_t, alpha_s, sigma_s = full_precision(student_signal_s, alpha_t, sigma_t, alpha_s, sigma_s)
    loss = (student_signal_s - target).square().flatten(1).mean(1)
    if weighting == 'step':
        ratio = signal_ode_ratio(*(torch.as_tensor(level) for level in (alpha_t, sigma_t, alpha_s, sigma_s)))
        weight = (1 - ratio).clamp(min=1e-6) ** -2  # finite where t = s
        weight = weight if max_weight is None else weight.clamp(max=max_weight)
        loss = weight.detach().to(loss.dtype) * loss
    return loss.mean()


def boot_boundary_loss(student_signal: Tensor, teacher_x0: Tensor) -> Tensor:
    """Mean squared distance of the student's signal at ``t_max`` from the teacher's clean image there, ``(N, ...)`` each."""
    student_signal, teacher_x0 = full_precision(student_signal, teacher_x0.detach())
    return (student_signal - teacher_x0).square().mean()


def copy_teacher_weights(student: nn.Module, teacher: nn.Module, method: str, fresh: Sequence[str] = ('guidance.',)) -> None:
    """Start the student at the teacher's weights, and without dropout.

    Args:
        fresh: beginnings of the names of parameters that the student may have beyond the teacher's.

    Raises:
        ValueError: if the networks differ.
    """
    own, given = student.state_dict(), teacher.state_dict()
    wrong = [key for key in own if key not in given and not key.startswith(tuple(fresh))]
    wrong += [key for key in given if key not in own or own[key].shape != given[key].shape]
    if wrong:
        raise ValueError(f'{method}: the student starts as a copy of the teacher, but they differ in {len(wrong)} tensors '
                         f'({wrong[0]} ...): give model.student the arguments of model.teacher, or set '
                         'init_from_teacher=False.')
    student.load_state_dict(given, strict=False)
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


@DISTILLERS.register_module()
class BOOT(Distiller):
    """BOOT: from noise alone, the student learns the signal at every time of the teacher's path (Gu et al., ICML 2024,
    arXiv:2306.05544).

    Needs no data: the train loader gives noise and conditions (:class:`zoo.data.NoiseDataset`). One step of training: the
    student at t and s, the teacher at t (twice with guidance), both at ``t_max`` for the boundary. The finished student
    draws with ``sampler=dict(type='boot')``, in one call.

    Args:
        delta: step from t to s, in units of time.
        t_min, t_max: where the path ends and begins.
        boundary_weight: beta, of the boundary loss.
        boundary_share: share of the batch on which the boundary loss is taken.
        weighting, max_weight: see :func:`boot_loss`.
        second_order: Heun's step for the target; one more teacher call (two with guidance).
        guidance_scale: of the teacher: None, a number, or a range ``(low, high)`` from which each sample draws its own; then
            the student is told (its network needs ``guidance_embedding=True``).
        times: ``'continuous'``, or the number of equal steps of a grid from which t is drawn.
        clip_x0: clamp the teacher's clean images to -1..1 (not for latents). The paper does not.
        init_from_teacher: the student begins as a copy of the teacher.
    """
    needs = Needs(student=('denoiser',), teacher=('denoiser',))

    def __init__(self, delta: float = 0.04, t_min: float = 0.0, t_max: float = 1.0, boundary_weight: float = 1.0,
                 boundary_share: float = 1.0, weighting: str = 'step', max_weight: float | None = None,
                 second_order: bool = False, guidance_scale: float | tuple[float, float] | None = None,
                 times: str | int = 'continuous', clip_x0: bool = False, init_from_teacher: bool = True):
        super().__init__()
        if not 0 <= t_min < t_max <= 1 or not 0 < delta < t_max - t_min:
            raise ValueError(f'BOOT needs 0 <= t_min < t_max <= 1 and delta below their distance; got t_min={t_min}, '
                             f't_max={t_max}, delta={delta}.')
        if weighting not in ('step', 'uniform'):
            raise ValueError(f"BOOT: weighting is 'step' or 'uniform', not {weighting!r}.")
        if times != 'continuous' and (isinstance(times, str) or times < 2):
            raise ValueError(f"BOOT: times is 'continuous' or a number of steps (2 or more), not {times!r}.")
        if not 0 < boundary_share <= 1:
            raise ValueError(f'BOOT: boundary_share lies in 0..1 (above 0), not at {boundary_share}.')
        self.delta, self.t_min, self.t_max = delta, t_min, t_max
        self.boundary_weight, self.boundary_share = boundary_weight, boundary_share
        self.weighting, self.max_weight, self.second_order, self.times = weighting, max_weight, second_order, times
        self.guidance_scale = tuple(guidance_scale) if isinstance(guidance_scale, (tuple, list)) else guidance_scale
        self.clip_x0, self.init_from_teacher = clip_x0, init_from_teacher

    def adapt_student(self, student, teacher, shapes):
        if isinstance(self.guidance_scale, tuple) and getattr(student, 'guidance', None) is None:
            raise ValueError('BOOT with a range of guidance scales needs model.student.guidance_embedding=True.')
        if self.init_from_teacher:
            copy_teacher_weights(student, teacher, 'BOOT')
        return student

    def draw_times(self, count: int, device, schedule) -> tuple[Tensor, Tensor]:
        """``t`` and ``s = t - delta``, not below ``t_min``: ``(N,)`` float32."""
        if self.times == 'continuous':
            t = self.t_min + self.delta + torch.rand(count, device=device) * (self.t_max - self.t_min - self.delta)
        else:
            grid = torch.linspace(self.t_min, self.t_max, int(self.times) + 1, device=device)[1:]
            t = grid[torch.randint(len(grid), (count,), device=device)]
        t = schedule.snap(t)
        return t, schedule.snap((t - self.delta).clamp(min=self.t_min))

    def forward(self, student, teacher, batch, progress):
        student, teacher = student['denoiser'], teacher['denoiser']
        eps, condition = batch.extra['noise'], batch.extra['condition']
        scale, told = self.guidance_scale, {}
        if isinstance(scale, tuple):
            scale = scale[0] + (scale[1] - scale[0]) * torch.rand(len(eps), device=eps.device)
            told = dict(scale_input=scale)
        options = dict(guidance_scale=scale, null_condition=batch.extra['null_condition'])
        t, s = self.draw_times(len(eps), eps.device, teacher.schedule)
        alpha_t, sigma_t = teacher.alpha_sigma(t)
        alpha_s, sigma_s = teacher.alpha_sigma(s)

        def clean(signal, alpha, sigma, time):
            x = broadcast_left(alpha, eps) * signal + broadcast_left(sigma, eps) * eps
            x0 = teacher(x, time, condition, **options)
            return x0.clamp(-1, 1) if self.clip_x0 else x0
        with torch.no_grad():
            y_t = student.signal(eps, t, condition, t_max=self.t_max, **told)
            f_t = clean(y_t, alpha_t, sigma_t, t)
            f_s = None
            if self.second_order:
                f_s = clean(signal_ode_step(y_t, f_t, alpha_t, sigma_t, alpha_s, sigma_s), alpha_s, sigma_s, s)
            few = max(1, round(self.boundary_share * len(eps)))
            f_max = teacher(eps[:few], self.t_max, first(condition, few), guidance_scale=first(scale, few),
                            null_condition=first(batch.extra['null_condition'], few))
            f_max = f_max.clamp(-1, 1) if self.clip_x0 else f_max
        # one pass for both times
        times = torch.cat([s, torch.full_like(s[:few], self.t_max)])
        signal = student.signal(again(eps, few), times, again(condition, few), t_max=self.t_max,
                                **{name: again(value, few) for name, value in told.items()})
        y_s, y_max = signal.split([len(eps), few])
        return dict(boot=boot_loss(y_s, y_t, f_t, alpha_t, sigma_t, alpha_s, sigma_s, f_s, weighting=self.weighting,
                                   max_weight=self.max_weight),
                    boundary=self.boundary_weight * boot_boundary_loss(y_max, f_max))


def first(value, count: int):
    """The first ``count`` entries of a tensor; anything else as it is."""
    return value[:count] if isinstance(value, Tensor) else value


def again(value, count: int):
    """A tensor with its first ``count`` entries once more behind it; anything else as it is."""
    return torch.cat([value, value[:count]]) if isinstance(value, Tensor) else value
