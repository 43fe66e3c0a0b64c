"""How well a classifier's confidence matches its accuracy."""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.metrics.accuracy import check_logits


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 where it is half precision, else unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def negative_log_likelihood(logits: Tensor, labels: Tensor, *, reduction: str = 'mean') -> Tensor:
    """Cross-entropy of the labels under ``softmax(logits)``, in nats.

    Args:
        logits: ``(N, K)`` scores; half precision is computed in float32.
        labels: ``(N,)`` class indices.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        A scalar, or ``(N,)`` for ``none``.
    """
    check_logits(logits, labels)
    return F.cross_entropy(full_precision(logits), labels.long(), reduction=reduction)


def calibration_error(confidence: Tensor, correct: Tensor, *, num_bins: int = 10) -> Tensor:
    """Expected calibration error from confidences and hits.

    Bin ``b = 1 .. B`` takes confidences in ``((b - 1) / B, b / B]`` (the upper edge belongs to the bin, unlike
    torchmetrics, whose bins are closed below); the error is the sum over bins of
    ``|hits in the bin - sum of confidences in the bin| / N``.

    Args:
        confidence: ``(N,)`` highest probability, in 0..1.
        correct: ``(N,)`` bool, or 0 and 1.
        num_bins: number of bins of equal width.

    Returns:
        A scalar in 0..1; nan where a confidence is nan.

    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017, arXiv:1706.04599, eq. (3); bin edges as in
    samuelstanton/gnosis@7a40c5d.
    """
    if num_bins < 1:
        raise ValueError(f'num_bins must be at least 1; got {num_bins}.')
    if confidence.ndim != 1 or confidence.shape != correct.shape or len(confidence) == 0:
        raise ValueError('confidence and correct must be (N,) of the same N, at least 1; '
                         f'got {tuple(confidence.shape)} and {tuple(correct.shape)}.')
    # the reference's edges are float32, also for float64 confidences
    edges = torch.linspace(1 / num_bins, 1, num_bins, device=confidence.device).to(confidence.dtype)
    index = torch.bucketize(confidence.contiguous(), edges).clamp(max=num_bins - 1)
    gap = correct.to(confidence.dtype) - confidence
    return torch.zeros_like(edges).index_add_(0, index, gap).abs().sum() / len(confidence)


def expected_calibration_error(logits: Tensor, labels: Tensor, *, num_bins: int = 10) -> Tensor:
    """Expected calibration error of ``softmax(logits)`` at its top class.

    Args:
        logits: ``(N, K)`` scores; half precision is computed in float32.
        labels: ``(N,)`` class indices.
        num_bins: number of bins of equal width (10 in Stanton et al., NeurIPS 2021; 15 in Guo et al., ICML 2017).

    Returns:
        A scalar in 0..1, see :func:`calibration_error`.
    """
    check_logits(logits, labels)
    confidence, guess = full_precision(logits).softmax(-1).max(-1)
    return calibration_error(confidence, guess == labels, num_bins=num_bins)


def _top_probability(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and error of the top class, ``(N,)`` each; rows that are probabilities are taken as they are."""
    check_logits(logits, labels)
    scores = full_precision(logits)
    given = bool(((scores >= 0) & (scores <= 1)).all()) and bool(((scores.sum(-1) - 1).abs() <= 1e-4).all())
    confidence, guess = (scores if given else scores.softmax(-1)).max(-1)
    return confidence, (guess != labels).to(confidence.dtype)


def aurc(logits: Tensor, labels: Tensor) -> Tensor:
    """Area under the risk-coverage curve of selective prediction; lower is better.

    Args:
        logits: ``(N, K)`` scores, or probabilities where every row lies in 0..1 and sums to 1 within 1e-4.
        labels: ``(N,)`` class indices.

    Returns:
        A scalar in 0..1: the area, by trapezia, under the error rate of the most confident samples, from all to one.

    Source: Van Landeghem et al., ICDAR 2024, arXiv:2406.08226; Jordy-VL/DistilDoc_ICDAR24@459cebf. Samples of equal
    confidence are kept apart here, in their order, where the reference merges them.
    """
    confidence, error = _top_probability(logits, labels)
    ordered = error[confidence.argsort(descending=True, stable=True)]
    risk = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1, dtype=ordered.dtype, device=ordered.device)
    return (risk[1:] + risk[:-1]).sum() / (2 * len(risk))


def ece(logits: Tensor, labels: Tensor, *, n_bins: int = 100, scheme: str = 'equal-mass') -> Tensor:
    """Calibration error that compares a bin's accuracy with its UPPER EDGE.

    Not :func:`expected_calibration_error`, which compares with the mean confidence.

    Args:
        logits: ``(N, K)`` scores or probabilities, as in :func:`aurc`; ``N >= 2``.
        labels: ``(N,)`` class indices.
        n_bins: number of bins, at most ``N - 1``.
        scheme: ``equal-mass``: groups of equal size in the order of confidence, the edge being the largest confidence
            of the group; ``equal-range``: intervals ``(u - 1/B, u]``, the edge being ``u``.

    Returns:
        A scalar in 0..1.

    Source: the protocol of Van Landeghem et al., ICDAR 2024, arXiv:2406.08226; the edge rule is our choice.
    """
    if scheme not in ('equal-mass', 'equal-range'):
        raise ValueError(f'scheme must be equal-mass or equal-range; got {scheme!r}.')
    if n_bins < 1 or len(logits) < 2:
        raise ValueError(f'ece needs n_bins >= 1 and at least 2 samples; got {n_bins} and {len(logits)}.')
    confidence, error = _top_probability(logits, labels)
    n = len(confidence)
    bins = min(n - 1, n_bins)
    order = confidence.argsort(stable=True)
    confidence, correct = confidence[order], 1 - error[order]
    if scheme == 'equal-mass':
        size = torch.full((bins,), n // bins, device=order.device)
        size[:n % bins] += 1
        index = torch.arange(bins, device=order.device).repeat_interleave(size)
        edges = confidence[size.cumsum(0) - 1]
    else:
        edges = torch.linspace(1 / bins, 1, bins, dtype=confidence.dtype, device=order.device)
        index = torch.bucketize(confidence, edges).clamp(max=bins - 1)
    return torch.zeros_like(edges).index_add_(0, index, correct - edges[index]).abs().sum() / n
