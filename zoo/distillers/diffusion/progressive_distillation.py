"""Progressive distillation.

Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models, ICLR 2022, arXiv:2202.00512.
Reference code: google-research/google-research@1d4d2f1, diffusion_distillation/dpm.py.

Images z_t = alpha_t x + sigma_t eps; log-SNRs ``(N,)``; the layout behind the batch axis does not matter.
"""
import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.diffusion import Denoiser, alpha_sigma_of_logsnr, broadcast_left, pd_ddim_step, to_eps_x0
from zoo.diffusion.parametrisation import full_precision
from zoo.registry import DISTILLERS, unknown

from ..base import Distiller, Needs
from .boot import copy_teacher_weights

__all__ = ['ProgressiveDistillation', 'progressive_distillation_loss', 'progressive_distillation_target']

WEIGHTINGS = ('snr_trunc', 'constant', 'snr', 'v_mse')


@torch.no_grad()
def progressive_distillation_target(z_t: Tensor, teacher_output_t: Tensor, teacher_output_mid: Tensor, logsnr_t: Tensor,
                                    logsnr_mid: Tensor, logsnr_s: Tensor, is_last: Tensor, *,
                                    prediction_type: str = 'v') -> Tensor:
    """The clean image with which one DDIM step from t to s arrives where the teacher's two steps do.

    Args:
        z_t: ``(N, ...)``.
        teacher_output_t: the teacher at ``z_t``; ``teacher_output_mid``: at the result of its first step (which is found here
            again), ``pd_ddim_step(z_t, teacher_output_t, logsnr_t, logsnr_mid, clip_x0=False)``.
        logsnr_t, logsnr_mid, logsnr_s: ``(N,)``.
        is_last: ``(N,)`` bool, steps that end at the clean image, whose target is the teacher's second clean image.
        prediction_type: of the teacher: ``'v'``, ``'eps'`` or ``'x'``.

    Returns:
        ``(N, ...)``, without gradient; float32 for half precision, since the target is a quotient of small differences.

    Source: appendix G, algorithm 2.
    """
    z_t, teacher_output_t, teacher_output_mid, logsnr_t, logsnr_mid, logsnr_s = full_precision(
        z_t, teacher_output_t, teacher_output_mid, logsnr_t, logsnr_mid, logsnr_s)
    alpha_t, sigma_t = (broadcast_left(level, z_t) for level in alpha_sigma_of_logsnr(logsnr_t))
    alpha_s, sigma_s = (broadcast_left(level, z_t) for level in alpha_sigma_of_logsnr(logsnr_s))
    z_mid = pd_ddim_step(z_t, teacher_output_t, logsnr_t, logsnr_mid, prediction_type=prediction_type, clip_x0=False)
    eps, x0 = to_eps_x0(teacher_output_mid, z_mid, *alpha_sigma_of_logsnr(logsnr_mid), prediction_type)
    z_s = alpha_s * x0 + sigma_s * eps
    ratio = sigma_s / sigma_t
    target = (z_s - ratio * z_t) / (alpha_s - ratio * alpha_t)
    last = torch.as_tensor(is_last, device=z_t.device).reshape(-1, *[1] * (z_t.ndim - 1))
    return torch.where(last, x0, target)


def progressive_distillation_loss(student_output: Tensor, z_t: Tensor, x_target: Tensor, logsnr_t: Tensor, *,
                                  prediction_type: str = 'v', weighting: str = 'snr_trunc') -> Tensor:
    """Distance of the student's clean image (or noise, or velocity) from the target's.

    Args:
        student_output, z_t, x_target: ``(N, ...)``; only the first gets a gradient.
        logsnr_t: ``(N,)``.
        prediction_type: of the student: ``'v'``, ``'eps'`` or ``'x'``.
        weighting: ``'constant'`` (clean image), ``'snr'`` (noise), ``'snr_trunc'`` (the larger of the two, per sample) or
            ``'v_mse'`` (velocity).

    Raises:
        ValueError: for another weighting.

    Source: section 4 and appendix G.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(unknown('weighting', weighting, WEIGHTINGS))
    student_output, z_t, x_target, logsnr_t = full_precision(student_output, z_t.detach(), x_target.detach(), logsnr_t)
    alpha, sigma = (broadcast_left(level, z_t) for level in alpha_sigma_of_logsnr(logsnr_t))
    eps, x0 = to_eps_x0(student_output, z_t, alpha, sigma, prediction_type)
    eps_target = (z_t - alpha * x_target) / sigma

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(1)
    if weighting == 'constant':
        loss = distance(x0, x_target)
    elif weighting == 'snr':
        loss = distance(eps, eps_target)
    elif weighting == 'snr_trunc':
        loss = torch.maximum(distance(x0, x_target), distance(eps, eps_target))
    else:
        v = student_output if prediction_type == 'v' else alpha * eps - sigma * x0
        loss = distance(v, alpha * eps_target - sigma * x_target)
    return loss.mean()


@DISTILLERS.register_module()
class ProgressiveDistillation(Distiller):
    """Progressive distillation: one step of the student does what two of the teacher do; then the student becomes the
    teacher, and so on (Salimans and Ho, ICLR 2022, arXiv:2202.00512).

    Needs images. The rounds divide the run; at the end of each the student's weights are copied into this distiller as the
    next teacher. :class:`zoo.engine.ProgressiveRoundsHook` resets the optimiser, lets the learning rate fall to 0 in each
    round and releases the student of each round.

    Args:
        start_steps: DDIM steps of the first teacher; the first student has half as many.
        end_steps: of the last student.
        weighting: see :func:`progressive_distillation_loss`.
        shares: relative lengths of the rounds; equal by default (the paper doubles those of 2 and 1 steps).
        guidance_scale: of the first teacher; the later ones have it in their weights. The paper uses none.
        init_from_teacher: the student begins as a copy of the teacher.

    Raises:
        ValueError: if the steps are no powers of two apart, or the shares are not one a round.
    """
    needs = Needs(student=('denoiser',), teacher=('denoiser',))

    def __init__(self, start_steps: int = 1024, end_steps: int = 1, weighting: str = 'snr_trunc',
                 shares: Sequence[float] | None = None, guidance_scale: float | None = None, init_from_teacher: bool = True):
        super().__init__()
        steps = [start_steps // 2]
        while steps[-1] > end_steps:
            steps.append(steps[-1] // 2)
        if end_steps < 1 or steps[-1] != end_steps or start_steps != end_steps * 2 ** len(steps):
            raise ValueError(f'start_steps={start_steps} cannot be halved down to end_steps={end_steps}.')
        if weighting not in WEIGHTINGS:
            raise ValueError(unknown('weighting', weighting, WEIGHTINGS))
        self.steps = tuple(steps)  #: the student's steps in each round
        shares = [1.0] * len(steps) if shares is None else [float(share) for share in shares]
        if len(shares) != len(steps) or min(shares) <= 0:
            raise ValueError(f'shares needs {len(steps)} numbers above 0, one for each of the rounds of {steps} steps.')
        self.shares, self.weighting = shares, weighting
        self.guidance_scale, self.init_from_teacher = guidance_scale, init_from_teacher
        self.register_buffer('round', torch.zeros((), dtype=torch.int64))

    def adapt_student(self, student, teacher, shapes):
        if self.init_from_teacher:
            copy_teacher_weights(student, teacher, 'ProgressiveDistillation')
        return student

    def build(self, shapes) -> None:
        self.previous: nn.Module = copy.deepcopy(shapes.student_net.module).requires_grad_(False).eval()

    def train(self, mode: bool = True):
        super().train(mode)
        if hasattr(self, 'previous'):
            self.previous.eval()
        return self

    def begins(self, iterations: int) -> list[int]:
        """The iteration at which each round begins, in a run of ``iterations``."""
        total, begun, found = sum(self.shares), 0.0, []
        for share in self.shares:
            found.append(round(begun / total * iterations))
            begun += share
        return found

    def round_at(self, iteration: int, iterations: int) -> int:
        """The round, from 0, that ``iteration`` belongs to."""
        return max(number for number, begin in enumerate(self.begins(iterations)) if begin <= iteration or number == 0)

    def forward(self, student, teacher, batch, progress):
        student, teacher = student['denoiser'], teacher['denoiser']
        wanted = self.round_at(progress.iteration, progress.iterations)
        if wanted > int(self.round):
            self.previous.load_state_dict(student.network.state_dict())
            self.round.fill_(wanted)
        images, noise, condition = batch.images, batch.extra['noise'], batch.extra['condition']
        if noise is images:
            raise ValueError('ProgressiveDistillation needs images, and the train loader gives noise alone.')
        options = dict(null_condition=batch.extra['null_condition'], guidance_scale=self.guidance_scale)
        if wanted:
            teacher, options = Denoiser(self.previous), {}
        steps = self.steps[wanted]
        number = torch.randint(steps, (len(images),), device=images.device)
        # float64: log-SNRs of nearly clean images and of nearly pure noise
        times = [(number + 1 - part).double() / steps for part in (0.0, 0.5, 1.0)]
        logsnr_t, logsnr_mid, logsnr_s = (2 * (alpha / sigma).log().float() for alpha, sigma in
                                          (teacher.alpha_sigma(teacher.schedule.snap(u)) for u in times))
        alpha, sigma = alpha_sigma_of_logsnr(logsnr_t)
        z_t = broadcast_left(alpha, images) * images + broadcast_left(sigma, images) * noise
        with torch.no_grad():
            kind = teacher.prediction_type
            output_t = teacher.output(z_t, times[0].float(), condition, **options)
            z_mid = pd_ddim_step(z_t, output_t, logsnr_t, logsnr_mid, prediction_type=kind, clip_x0=False)
            output_mid = teacher.output(z_mid, times[1].float(), condition, **options)
            target = progressive_distillation_target(z_t, output_t, output_mid, logsnr_t, logsnr_mid, logsnr_s, number == 0,
                                                     prediction_type=kind)
        output = student.output(z_t, times[0].float(), condition)
        return dict(progressive_distillation=progressive_distillation_loss(
            output, z_t, target, logsnr_t, prediction_type=student.prediction_type, weighting=self.weighting))
