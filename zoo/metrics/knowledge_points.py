"""How much of each image patch a layer encodes, by the noise it tolerates.

Cheng, Rao, Chen, Zhang, "Explaining Knowledge Distillation by Quantifying the Knowledge", CVPR 2020, arXiv:2003.03622;
Jenniferlyx/Explaining-Knowledge-Distillation-by-Quantifying-the-Knowledge@0269422.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_entropy(sigma: Tensor) -> Tensor:
    """Entropy of normal noise in nats, ``log sigma + log(2 pi e) / 2``, of each element of ``sigma`` (> 0)."""
    return sigma.log() + 0.5 * math.log(2 * math.pi * math.e)


def sigma_noise(images: Tensor, sigma: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """An image under noise whose strength is one number per patch.

    Args:
        images: ``(1, C, H, H)``.
        sigma: ``(S, S)`` strengths; its data are clamped to 0.001..1 IN PLACE, as an optimiser's step may leave them
            outside.
        noise: ``(n, C, H, H)`` standard normal.

    Returns:
        ``images (n, C, H, H)`` and ``entropy``, the mean of :func:`pixel_entropy`, a scalar; gradients reach ``sigma``.
    """
    if images.ndim != 4 or len(images) != 1 or noise.shape[1:] != images.shape[1:] or sigma.ndim != 2:
        raise ValueError('sigma_noise needs images (1, C, H, H), sigma (S, S) and noise (n, C, H, H); got '
                         f'{tuple(images.shape)}, {tuple(sigma.shape)} and {tuple(noise.shape)}.')
    with torch.no_grad():
        sigma.clamp_(0.001, 1)
    enlarged = F.interpolate(sigma[None, None], size=images.shape[-2:], mode='nearest')
    return {'images': images + enlarged * noise, 'entropy': pixel_entropy(sigma).mean()}


def sigma_objective(noisy_feat: Tensor, clean_feat: Tensor, entropy: Tensor, sigma_f: Tensor | float, *,
                    lam: float = 6.0) -> Tensor:
    """What the noise's strength minimises: the change of the feature, less ``lam`` times the entropy.

    Args:
        noisy_feat: ``(n, ...)`` features of the noisy images.
        clean_feat: ``(1, ...)`` feature of the image.
        entropy: scalar of :func:`sigma_noise`.
        sigma_f: change of the feature at a strength of 0.01 everywhere, above 0.
        lam: weight of the entropy (6 for ResNets, 7 for VGG and AlexNet).

    Returns:
        A scalar, with gradients to ``noisy_feat`` and ``entropy``.
    """
    if noisy_feat.shape[1:] != clean_feat.shape[1:]:
        raise ValueError('noisy_feat and clean_feat must agree beyond the batch; '
                         f'got {tuple(noisy_feat.shape)} and {tuple(clean_feat.shape)}.')
    change = (noisy_feat.relu() - clean_feat.relu()).square().mean()
    return change / sigma_f - lam * entropy


def knowledge_point_metrics(sigmas: Tensor, foreground: Tensor, weight_steps: Tensor, *,
                            threshold: float = 0.2) -> dict[str, Tensor]:
    """Knowledge points of a network along its training.

    Args:
        sigmas: ``(I, M, S, S)`` trained strengths, > 0, of ``I`` images at ``M`` checkpoints.
        foreground: bool ``(S, S)`` or ``(I, S, S)``; there must be background.
        weight_steps: ``(M,)`` relative movement of the weights up to each checkpoint since the one before.
        threshold: a patch counts where its entropy lies more than this below the mean background entropy.

    Returns:
        ``background_entropy (M,)``; ``num_foreground (I,)`` and ``num_background (I,)``, knowledge points at the last
        checkpoint; scalars ``ratio`` (share on the foreground), ``d_mean`` and ``d_std`` (mean and population VARIANCE
        of the movement until an image has most foreground points), ``rho`` (share of the foreground points ever learned
        that remain).
    """
    if sigmas.ndim != 4 or weight_steps.shape != sigmas.shape[1:2] or foreground.shape[-2:] != sigmas.shape[-2:]:
        raise ValueError('knowledge_point_metrics needs sigmas (I, M, S, S), foreground (S, S) or (I, S, S) and '
                         f'weight_steps (M,); got {tuple(sigmas.shape)}, {tuple(foreground.shape)} and '
                         f'{tuple(weight_steps.shape)}.')
    images = len(sigmas)
    front = foreground.bool().expand(images, *foreground.shape[-2:]).flatten(1)
    back = ~front
    if not bool(back.any(1).all()):
        raise ValueError('knowledge_point_metrics needs background cells in every image: the threshold rests on them.')
    entropy = pixel_entropy(sigmas).flatten(2)
    in_back = (entropy * back[:, None]).sum(2) / back.sum(1)[:, None]
    background_entropy = in_back.mean(0)
    points = background_entropy[None, :, None] - entropy > threshold
    front_points = points & front[:, None]
    num_front, num_back = front_points.sum(2), (points & back[:, None]).sum(2)
    dtype = sigmas.dtype
    last_front, last_back = num_front[:, -1].to(dtype), num_back[:, -1].to(dtype)
    # 0 / max(0, 1) gives the 0 that is wanted where there are no points
    ratio = (last_front / (last_front + last_back).clamp(min=1)).mean()
    rho = (last_front / front_points.any(1).sum(1).clamp(min=1)).mean()
    # torch's argmax does not promise the first of equal counts
    first_best = (num_front == num_front.amax(1, keepdim=True)).to(torch.uint8).cumsum(1).eq(0).sum(1)
    movement = weight_steps.cumsum(0)[first_best]
    return {'background_entropy': background_entropy, 'num_foreground': last_front, 'num_background': last_back,
            'ratio': ratio, 'd_mean': movement.mean(), 'd_std': movement.var(correction=0), 'rho': rho}
