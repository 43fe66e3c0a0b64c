"""Noise schedules, parametrisations, guidance and samplers of diffusion models; no networks, no training.

Images are ``x_t = alpha_t x + sigma_t eps``; time runs from 0 (clean) to 1 (noise). Noise levels are float tensors ``(N,)`` or
0-d and are broadcast from the left over images ``(N, ...)``.
"""
from zoo.diffusion.collaboration import (
    AdaptiveCollaboration,
    adaptive_select,
    adaptive_thresholds,
    average_steps,
    refinement_steps,
    rollback,
)
from zoo.diffusion.denoiser import Denoiser, GaussianDenoiser
from zoo.diffusion.guidance import guided_prediction
from zoo.diffusion.karras import (
    consistency_renoise,
    consistency_schedule,
    karras_denoise,
    karras_euler_step,
    karras_heun_step,
    karras_progressive_target,
    karras_scalings,
    karras_sigmas,
)
from zoo.diffusion.parametrisation import (
    PREDICTION_TYPES,
    alpha_sigma_of_logsnr,
    broadcast_left,
    model_output,
    to_eps_x0,
)
from zoo.diffusion.samplers import SAMPLERS, sample
from zoo.diffusion.schedules import CosineSchedule, DDPMSchedule, build_schedule, cosine_alpha_sigma, ddpm_alpha_sigma
from zoo.diffusion.steps import ddim_step, ddpm_step, pd_ddim_step, signal_ode_ratio, signal_ode_solve, signal_ode_step

__all__ = [
    'PREDICTION_TYPES', 'SAMPLERS', 'AdaptiveCollaboration', 'CosineSchedule', 'DDPMSchedule', 'Denoiser', 'GaussianDenoiser',
    'adaptive_select', 'adaptive_thresholds', 'alpha_sigma_of_logsnr', 'average_steps', 'broadcast_left', 'build_schedule',
    'consistency_renoise', 'consistency_schedule', 'cosine_alpha_sigma', 'ddim_step', 'ddpm_alpha_sigma', 'ddpm_step',
    'guided_prediction', 'karras_denoise', 'karras_euler_step', 'karras_heun_step', 'karras_progressive_target',
    'karras_scalings', 'karras_sigmas', 'model_output', 'pd_ddim_step', 'refinement_steps', 'rollback', 'sample',
    'signal_ode_ratio', 'signal_ode_solve', 'signal_ode_step', 'to_eps_x0',
]
