"""What a network's output means: the noise, the clean image, or the velocity; and how one becomes the other."""
import torch
from torch import Tensor

from zoo.registry import unknown

#: ``eps`` the noise, ``x0`` the clean image, ``v = alpha eps - sigma x0`` (Salimans and Ho, ICLR 2022, arXiv:2202.00512)
PREDICTION_TYPES = ('eps', 'x0', 'v')


def check_prediction_type(prediction_type: str) -> str:
    """The type; ``'x'`` is another name of ``'x0'``.

    Raises:
        ValueError: for an unknown one.
    """
    prediction_type = 'x0' if prediction_type == 'x' else prediction_type
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(unknown('prediction_type', prediction_type, PREDICTION_TYPES))
    return prediction_type


def broadcast_left(level: Tensor | float, images: Tensor) -> Tensor:
    """``level`` ``(N,)`` or 0-d, with axes behind the first so that it multiplies ``images`` ``(N, ...)``, in its dtype."""
    level = torch.as_tensor(level, device=images.device)
    level = level.to(images.dtype if images.is_floating_point() else torch.float32)
    return level.reshape(*level.shape, *([1] * (images.ndim - level.ndim))) if level.ndim else level


def full_precision(*tensors: Tensor | None) -> tuple:
    """The tensors, float16 and bfloat16 as float32: ratios of noise levels leave half precision's range."""
    return tuple(t.float() if isinstance(t, Tensor) and t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)


def alpha_sigma_of_logsnr(logsnr: Tensor) -> tuple[Tensor, Tensor]:
    """``alpha = sqrt(sigmoid(logsnr))`` and ``sigma = sqrt(sigmoid(-logsnr))``."""
    logsnr, = full_precision(logsnr)
    return logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt()


def to_eps_x0(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    """Noise and clean image that a network's output stands for.

    Args:
        output, x_t: ``(N, ...)``.
        alpha, sigma: ``(N,)`` or 0-d.
        prediction_type: of :data:`PREDICTION_TYPES`.

    Returns:
        ``(eps, x0)``, each like ``output``.
    """
    kind = check_prediction_type(prediction_type)
    alpha, sigma = broadcast_left(alpha, x_t), broadcast_left(sigma, x_t)
    if kind == 'eps':
        return output, (x_t - sigma * output) / alpha
    if kind == 'x0':
        return (x_t - alpha * output) / sigma, output
    return alpha * output + sigma * x_t, alpha * x_t - sigma * output


def model_output(x0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """The output that stands for the clean image ``x0`` at ``x_t``: the inverse of :func:`to_eps_x0`."""
    kind = check_prediction_type(prediction_type)
    alpha, sigma = broadcast_left(alpha, x_t), broadcast_left(sigma, x_t)
    if kind == 'x0':
        return x0
    eps = (x_t - alpha * x0) / sigma
    return eps if kind == 'eps' else alpha * eps - sigma * x0
