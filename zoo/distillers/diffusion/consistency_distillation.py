"""Consistency distillation.

Song, Dhariwal, Chen, Sutskever: Consistency Models, ICML 2023, arXiv:2303.01469.
Reference code: openai/consistency_models@e32b69e.
"""
import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.diffusion import (
    broadcast_left,
    consistency_schedule,
    karras_euler_step,
    karras_heun_step,
    karras_sigmas,
)
from zoo.diffusion.parametrisation import full_precision
from zoo.registry import DISTILLERS, MODELS, unknown

from ..base import Distiller, Needs
from .boot import copy_teacher_weights

__all__ = ['ConsistencyDistillation', 'consistency_distillation_loss']

WEIGHTINGS = ('uniform', 'snr', 'snr+1', 'karras', 'truncated-snr')
NORMS = ('l2', 'l1', 'lpips')


def consistency_distillation_loss(student_denoised: Tensor, target_denoised: Tensor, sigma: Tensor, *, norm: str = 'l2',
                                  weighting: str = 'uniform', sigma_data: float = 0.5,
                                  perceptual: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
    """Distance of the student's clean image from that of its average at the neighbouring noise level.

    Args:
        student_denoised, target_denoised: ``(N, ...)``; the second gets no gradient.
        sigma: the student's noise level, ``(N,)``.
        norm: ``'l2'`` (squared), ``'l1'`` or ``'lpips'`` (images ``(N, C, H, W)``, resized to 224 where smaller than 256, in
            0..1, compared by ``perceptual``).
        weighting: by ``snr = sigma^-2``: ``'uniform'``, ``'snr'``, ``'snr+1'``, ``'karras'`` (``snr + sigma_data^-2``) or
            ``'truncated-snr'`` (at least 1).
        perceptual: ``perceptual(a, b) -> (N,)``, for ``'lpips'``.

    Raises:
        ValueError: for unknown norms and weightings, or ``'lpips'`` without ``perceptual``.
    """
    if norm not in NORMS:
        raise ValueError(unknown('norm', norm, NORMS))
    if weighting not in WEIGHTINGS:
        raise ValueError(unknown('weighting', weighting, WEIGHTINGS))
    student, target, sigma = full_precision(student_denoised, target_denoised.detach(), sigma)
    snr = sigma**-2
    weight = {'uniform': torch.ones_like(snr), 'snr': snr, 'snr+1': snr + 1, 'karras': snr + sigma_data**-2,
              'truncated-snr': snr.clamp(min=1.0)}[weighting]
    if norm == 'lpips':
        if perceptual is None:
            raise ValueError("norm 'lpips' needs perceptual(a, b) -> (N,), a network of perceptual distance.")
        if student.shape[-1] < 256:
            student, target = (F.interpolate(images, size=224, mode='bilinear') for images in (student, target))
        distance = perceptual((student + 1) / 2, (target + 1) / 2).flatten()
    else:
        difference = student - target
        distance = (difference.square() if norm == 'l2' else difference.abs()).flatten(1).mean(1)
    return (weight * distance).mean()


@DISTILLERS.register_module()
class ConsistencyDistillation(Distiller):
    """Consistency distillation: neighbouring points of the teacher's path shall give the same image (Song et al., ICML 2023,
    arXiv:2303.01469).

    Needs images. Teacher and student may be any networks of this zoo: they are read on Karras' noise levels, whatever their
    own schedule (:meth:`zoo.diffusion.Denoiser.at_sigma`). The target network, an average of the student, belongs to this
    distiller. The finished student draws with ``sampler=dict(type='consistency', steps=..., sigma_data=...)``.

    Args:
        num_scales: noise levels, with ``scale_mode='fixed'``.
        sigma_min, sigma_max, rho: of Karras' levels.
        sigma_data: of the preconditioning; 1.0 fits a variance-preserving v-network, for which it changes nothing.
        norm, weighting: see :func:`consistency_distillation_loss`.
        perceptual: config of MODELS for ``norm='lpips'``: ``forward(a, b) -> (N,)`` on images in 0..1.
        target_ema: averaging rate of the target network.
        target_ema_mode, scale_mode, end_scales: see :func:`zoo.diffusion.consistency_schedule`; ``num_scales`` is the start.
        solver: of the teacher's step: ``'heun'`` (as published) or ``'euler'`` (half the teacher's calls).
        guidance_scale: of the teacher. The paper uses none.
        init_from_teacher: the student begins as a copy of the teacher.
    """
    needs = Needs(student=('denoiser',), teacher=('denoiser',))

    def __init__(self, num_scales: int = 40, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0,
                 sigma_data: float = 0.5, norm: str = 'l2', weighting: str = 'uniform', perceptual: dict | None = None,
                 target_ema: float = 0.95, target_ema_mode: str = 'fixed', scale_mode: str = 'fixed',
                 end_scales: int | None = None, solver: str = 'heun', guidance_scale: float | None = None,
                 init_from_teacher: bool = True):
        super().__init__()
        if norm not in NORMS or weighting not in WEIGHTINGS:
            raise ValueError(unknown('norm', norm, NORMS) if norm not in NORMS else unknown('weighting', weighting, WEIGHTINGS))
        if norm == 'lpips' and perceptual is None:
            raise ValueError("ConsistencyDistillation(norm='lpips') needs perceptual=dict(type=...), a network of perceptual "
                             'distance.')
        if solver not in ('heun', 'euler'):
            raise ValueError(f"ConsistencyDistillation: solver is 'heun' or 'euler', not {solver!r}.")
        if scale_mode not in ('fixed', 'progressive') or num_scales < 2 or not 0 < sigma_min < sigma_max:
            raise ValueError("ConsistencyDistillation needs scale_mode 'fixed' or 'progressive', num_scales >= 2 and "
                             f'0 < sigma_min < sigma_max; got {scale_mode!r}, {num_scales}, {sigma_min}, {sigma_max}.')
        self.levels = dict(sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
        self.scaling = dict(sigma_data=sigma_data, sigma_min=sigma_min)
        self.norm, self.weighting, self.solver = norm, weighting, solver
        self.schedule = dict(target_ema_mode=target_ema_mode, start_ema=target_ema, scale_mode=scale_mode,
                             start_scales=num_scales, end_scales=end_scales or num_scales, distill_steps_per_iter=50000)
        consistency_schedule([0], total_steps=1, **self.schedule)  # a wrong pair of modes is told now
        self.guidance_scale, self.init_from_teacher = guidance_scale, init_from_teacher
        self.perceptual = None
        if perceptual is not None:
            self.perceptual = MODELS.build(perceptual).requires_grad_(False).eval()

    def adapt_student(self, student, teacher, shapes):
        if self.init_from_teacher:
            copy_teacher_weights(student, teacher, 'ConsistencyDistillation')
        return student

    def build(self, shapes) -> None:
        self.target: nn.Module = copy.deepcopy(shapes.student_net.module).requires_grad_(False)
        # a copy of the student's last parameter: it tells whether the optimiser has moved since the target was averaged
        self.register_buffer('seen', list(self.target.parameters())[-1].detach().clone())

    @torch.no_grad()
    def follow(self, network: nn.Module, rate: float) -> None:
        """Move the target towards the student, once after each step of the optimiser."""
        last = list(network.parameters())[-1].detach()
        if torch.equal(last, self.seen):
            return
        self.seen.copy_(last)
        for own, other in zip(self.target.parameters(), network.parameters()):
            own.lerp_(other, 1 - rate)
        for own, other in zip(self.target.buffers(), network.buffers()):
            own.copy_(other)

    def forward(self, student, teacher, batch, progress):
        student, teacher = student['denoiser'], teacher['denoiser']
        now = consistency_schedule([progress.iteration], total_steps=max(progress.iterations, 1), **self.schedule)
        rate, scales = float(now['ema'][0]), int(now['num_scales'][0])
        self.follow(student.network, rate)
        images, noise, condition = batch.images, batch.extra['noise'], batch.extra['condition']
        if noise is images:
            raise ValueError('ConsistencyDistillation needs images, and the train loader gives noise alone.')
        options = dict(guidance_scale=self.guidance_scale, null_condition=batch.extra['null_condition'])
        index = torch.randint(scales - 1, (len(images),), device=images.device)
        sigma, lower = (karras_sigmas(index + step, num_scales=scales, **self.levels).to(images.dtype) for step in (0, 1))
        x = images + broadcast_left(sigma, images) * noise
        with torch.no_grad():
            denoised = teacher.at_sigma(x, sigma, condition, **options)
            following = karras_euler_step(x, denoised, sigma, lower)
            if self.solver == 'heun':
                corrected = teacher.at_sigma(following, lower, condition, **options)
                following = karras_heun_step(x, denoised, corrected, sigma, lower)
        random = torch.get_rng_state()
        found = student.consistent(x, sigma, condition, **self.scaling)
        with torch.no_grad():
            if images.device.type == 'cpu' and student.network.training:
                torch.set_rng_state(random)  # the same dropout, as published; without dropout nothing is drawn
            target = copy.copy(student)
            target.network = self.target.train(student.network.training)
            wanted = target.consistent(following, lower, condition, **self.scaling)
        return dict(consistency_distillation=consistency_distillation_loss(
            found, wanted, sigma, norm=self.norm, weighting=self.weighting, sigma_data=self.scaling['sigma_data'],
            perceptual=self.perceptual))
