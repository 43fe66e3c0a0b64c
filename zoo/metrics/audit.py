"""Comparing a transparent mimic of a black box with a model of the outcomes.

Tan, Caruana, Hooker, Lou, "Distill-and-Compare: Auditing Black-Box Models Using Transparent Model Distillation",
AIES 2018, arXiv:1710.06169. No reference code: the statistics are our own definitions.
"""
import torch
from torch import Tensor


def center_shape(values: Tensor, counts: Tensor) -> Tensor:
    """A feature's curve minus its mean over the samples.

    Args:
        values: ``(F,)`` the curve on the feature's bins.
        counts: ``(F,)`` samples in each bin, not all 0.

    Returns:
        ``(F,)`` in the dtype of ``values``.
    """
    if values.shape != counts.shape or values.ndim != 1:
        raise ValueError(f'values and counts must be (F,); got {tuple(values.shape)} and {tuple(counts.shape)}.')
    if not bool(counts.sum() > 0):
        raise ValueError('counts must not all be 0: the curve has no sample to be centred on.')
    counts = counts.to(values.dtype)
    return values - (values * counts).sum() / counts.sum()


def shape_difference(mimic_shapes: Tensor, outcome_shapes: Tensor, *, z: float = 1.96) -> dict[str, Tensor]:
    """Where the mimic's curve differs from the outcome model's, over bootstrap samples.

    Args:
        mimic_shapes: ``(B, F)`` centred curves of the mimic, ``B >= 2``.
        outcome_shapes: ``(B, F)`` of the outcome model on the same bootstrap samples.
        z: half the width of the interval, in standard deviations of one fit (not divided by ``sqrt(B)``).

    Returns:
        ``mean``, ``lower``, ``upper`` and ``significant`` (1 where 0 lies outside the interval), ``(F,)`` each.
    """
    if mimic_shapes.shape != outcome_shapes.shape or mimic_shapes.ndim != 2 or len(mimic_shapes) < 2:
        raise ValueError('mimic_shapes and outcome_shapes must be (B, F) with B at least 2; '
                         f'got {tuple(mimic_shapes.shape)} and {tuple(outcome_shapes.shape)}.')
    difference = mimic_shapes - outcome_shapes
    mean, spread = difference.mean(0), difference.std(0)
    lower, upper = mean - z * spread, mean + z * spread
    return {'mean': mean, 'lower': lower, 'upper': upper, 'significant': ((lower > 0) | (upper < 0)).to(mean.dtype)}


def residual_correlation(teacher_scores: Tensor, mimic_scores: Tensor, outcomes: Tensor,
                         outcome_scores: Tensor) -> dict[str, Tensor]:
    """Correlation of the two models' residuals on held-out rows; a positive one points to a missing feature.

    Args:
        teacher_scores: ``(n,)`` scores of the black box, ``n >= 3``.
        mimic_scores: ``(n,)`` scores of its mimic.
        outcomes: ``(n,)`` what came true.
        outcome_scores: ``(n,)`` probabilities of the outcome model.

    Returns:
        ``pearson``, ``pearson_p``, ``spearman`` (average ranks), ``spearman_p`` (two-sided, ``n - 2`` degrees of
        freedom): float64 scalars, nan where a residual is constant.
    """
    from scipy import stats  # here, as it takes a second to import

    columns = [t.detach().cpu().double() for t in (teacher_scores, mimic_scores, outcomes, outcome_scores)]
    if len({t.shape for t in columns}) > 1 or columns[0].ndim != 1 or len(columns[0]) < 3:
        raise ValueError('residual_correlation needs four (n,) of one n, at least 3; '
                         f'got {", ".join(str(tuple(t.shape)) for t in columns)}.')
    teacher, mimic, outcome, model = columns
    residuals = (teacher - mimic).numpy(), (outcome - model).numpy()
    pearson, spearman = stats.pearsonr(*residuals), stats.spearmanr(*residuals)
    values = {'pearson': pearson.statistic, 'pearson_p': pearson.pvalue, 'spearman': spearman.statistic,
              'spearman_p': spearman.pvalue}
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in values.items()}
