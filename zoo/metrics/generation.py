"""How close generated images are to real ones, from features of both."""
import numpy as np
import torch
from torch import Tensor


def _samples(features: Tensor, name: str, at_least: int) -> Tensor:
    if features.ndim != 2 or len(features) < at_least:
        raise ValueError(f'{name} must be (N, D) of at least {at_least} images; got {tuple(features.shape)}.')
    return features.detach().double()


def feature_statistics(features: Tensor) -> dict[str, Tensor]:
    """Mean and covariance of features.

    Args:
        features: ``(N, D)``, ``N >= 2``; usually the 2048 of Inception-v3's last pooling, of 50,000 images.

    Returns:
        ``mu (D,)`` and ``sigma (D, D)`` (divided by ``N - 1``), float64.
    """
    features = _samples(features, 'features', 2)
    return {'mu': features.mean(0), 'sigma': torch.atleast_2d(features.T.cov())}


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Fréchet distance of two normal distributions; of Inception features it is the FID.

    Args:
        mu1, mu2: ``(D,)`` means.
        sigma1, sigma2: ``(D, D)`` covariances.
        eps: added to both diagonals where the root of ``sigma1 sigma2`` is not finite.

    Returns:
        A float64 scalar on the CPU, not clamped, so that round-off may give a small negative number.

    Raises:
        ValueError: shapes that do not match, or a root with an imaginary diagonal above 1e-3.

    Source: Heusel et al., NeurIPS 2017, arXiv:1706.08500, eq. (6); the rules for a singular product as in pytorch-fid.
    """
    from scipy.linalg import sqrtm

    if not (mu1.ndim == 1 and mu1.shape == mu2.shape and sigma1.shape == sigma2.shape == (len(mu1), len(mu1))):
        raise ValueError('frechet_distance needs means (D,) and covariances (D, D) of one D; got '
                         f'{", ".join(str(tuple(t.shape)) for t in (mu1, sigma1, mu2, sigma2))}.')
    mean1, cov1, mean2, cov2 = (t.detach().cpu().double().numpy() for t in (mu1, sigma1, mu2, sigma2))
    root = sqrtm(cov1 @ cov2)
    if not np.isfinite(root).all():
        offset = eps * np.eye(len(mean1))
        root = sqrtm((cov1 + offset) @ (cov2 + offset))
    if np.iscomplexobj(root):
        largest = np.abs(np.diagonal(root).imag).max()
        if largest > 1e-3:
            raise ValueError(f'frechet_distance: the root of the covariances\' product is complex (up to {largest:.3g} '
                             'on the diagonal); use more images than features.')
        root = root.real
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root)
    return torch.tensor(float(distance), dtype=torch.float64)


def precision_recall(real_features: Tensor, fake_features: Tensor, *, k: int = 3) -> dict[str, Tensor]:
    """Precision and recall of generated images by balls around nearest neighbours.

    Args:
        real_features: ``(N, D)``, ``N > k``.
        fake_features: ``(M, D)``, ``M > k``.
        k: a ball's radius is the distance to the ``k``-th nearest other point of its own set.

    Returns:
        ``precision``: share of generated points in at least one real point's ball; ``recall``: share of real points in
        at least one generated point's ball; float64 scalars in 0..1.

    Source: Kynkäänniemi et al., NeurIPS 2019, arXiv:1904.06991; rules as in openai/consistency_models.
    """
    if k < 1:
        raise ValueError(f'k must be at least 1; got {k}.')
    real, fake = _samples(real_features, 'real_features', k + 1), _samples(fake_features, 'fake_features', k + 1)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f'real and fake features must have one D; got {real.shape[1]} and {fake.shape[1]}.')

    def distances(a: Tensor, b: Tensor) -> Tensor:
        # without the matrix product, whose round-off would move points across a ball's surface
        return torch.cdist(a, b, compute_mode='donot_use_mm_for_euclid_dist')

    def covered(points: Tensor, centres: Tensor) -> Tensor:
        radius = torch.cat([distances(part, centres).kthvalue(k + 1, 1).values for part in centres.split(1024)])
        inside = [(distances(part, centres) <= radius).any(1) for part in points.split(1024)]
        return torch.cat(inside).double().mean()

    return {'precision': covered(fake, real), 'recall': covered(real, fake)}
