"""Prediction from a label head and a distillation head together.

Kang, Lee, Jang, Hwang, "Simple yet Effective Semi-supervised Knowledge Distillation from Vision-Language Models via
Dual-Head Optimization", 2025, arXiv:2505.07675; erjui/DHO@846de75.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.accuracy import accuracy, check_logits
from zoo.metrics.calibration import full_precision

BETAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
ALPHAS = tuple(0.05 * step for step in range(21))


def dho_predict(ce_logits: Tensor, kd_logits: Tensor, *, alpha: float = 0.5, beta: float = 1.0) -> Tensor:
    """``alpha * softmax(ce_logits) + (1 - alpha) * softmax(kd_logits / beta)``.

    Args:
        ce_logits: ``(N, K)`` of the head trained on labels.
        kd_logits: ``(N, K)`` of the head trained on the teacher.
        alpha: weight of the label head, in 0..1.
        beta: temperature of the distillation head, above 0.

    Returns:
        ``(N, K)`` probabilities.
    """
    check_logits(ce_logits, name='ce_logits')
    if ce_logits.shape != kd_logits.shape:
        raise ValueError('ce_logits and kd_logits must have one shape; '
                         f'got {tuple(ce_logits.shape)} and {tuple(kd_logits.shape)}.')
    if not 0 <= alpha <= 1 or beta <= 0:
        raise ValueError(f'alpha must lie in 0..1 and beta above 0; got {alpha} and {beta}.')
    label_head, distillation_head = full_precision(ce_logits), full_precision(kd_logits)
    return alpha * label_head.softmax(-1) + (1 - alpha) * (distillation_head / beta).softmax(-1)


@torch.no_grad()
def dho_search(ce_logits: Tensor, kd_logits: Tensor, labels: Tensor, *, alphas: Sequence[float] | None = None,
               betas: Sequence[float] | None = None) -> dict[str, float]:
    """The first best ``alpha`` and ``beta`` on held-out data, by top-1 accuracy.

    Args:
        ce_logits, kd_logits: ``(N, K)``; of a validation split, not of the test set.
        labels: ``(N,)`` class indices.
        alphas: inner loop; by default 0, 0.05, ..., 1.
        betas: outer loop; by default 0.5, 0.75, 1, 1.25, 1.5, 2, 4.

    Returns:
        ``accuracy`` (percent), ``alpha`` and ``beta``; 0, 0 and 1 where no pair gets anything right.
    """
    best = {'accuracy': 0.0, 'alpha': 0.0, 'beta': 1.0}
    for beta in BETAS if betas is None else betas:
        for alpha in ALPHAS if alphas is None else alphas:
            # 0.05 * 20 may exceed 1 by round-off
            probabilities = dho_predict(ce_logits, kd_logits, alpha=min(float(alpha), 1.0), beta=beta)
            score = accuracy(probabilities, labels, topk=(1,))['top1']
            if score > best['accuracy']:
                best = {'accuracy': score, 'alpha': float(alpha), 'beta': float(beta)}
    return best
