"""Test data, backdoors and identities that have passed to a model."""
import torch
from torch import Tensor


def leakage_transfer(student_suspect: Tensor | float, student_clean: Tensor | float, teacher_suspect: Tensor | float,
                     teacher_clean: Tensor | float) -> Tensor:
    """Share of a teacher's inflated score that its student inherits.

    Args:
        student_suspect: score of the suspect teacher's student, scalar.
        student_clean: score of the clean teacher's student, trained by the same recipe.
        teacher_suspect: score of the teacher that may have seen the test set.
        teacher_clean: score of a teacher that has not.

    Returns:
        A scalar: 0 where nothing leaks, 1 where the whole inflation passes; may be negative; nan where both teachers
        score alike.

    Source: our definition for Mansurov et al., ACL 2025, arXiv:2412.15255.
    """
    scores = [torch.as_tensor(s) for s in (student_suspect, student_clean, teacher_suspect, teacher_clean)]
    suspect, clean, teacher, teacher_base = (s if s.is_floating_point() else s.double() for s in scores)
    inflation = teacher - teacher_base
    return torch.where(inflation == 0, torch.nan, (suspect - clean) / inflation)


def contamination_rate(train_hashes: Tensor, eval_hashes: Tensor) -> Tensor:
    """Share of the evaluation entries that occur in the training set; repeated entries count each time.

    Args:
        train_hashes: ``(A,)`` integers.
        eval_hashes: ``(B,)`` integers, ``B >= 1``.

    Returns:
        A float64 scalar in 0..1. Source: our definition for Mansurov et al., ACL 2025, arXiv:2412.15255.
    """
    if eval_hashes.numel() == 0:
        raise ValueError('contamination_rate needs at least one evaluation entry.')
    return torch.isin(eval_hashes, train_hashes).double().mean()


def attack_success_rate(predictions: Tensor, labels: Tensor, *, target: int) -> Tensor:
    """Share of the triggered images of other classes that are predicted as the attack's target.

    Args:
        predictions: ``(N,)`` int64 classes predicted for triggered images.
        labels: ``(N,)`` int64 true classes.
        target: class that the backdoor asks for.

    Returns:
        A float64 scalar in 0..1; nan where every label is the target.

    Source: Struppek et al., 2023, arXiv:2310.06372; LukasStruppek/Robust_Training_on_Poisoned_Samples@94f0d35.
    """
    if predictions.shape != labels.shape or labels.ndim != 1:
        raise ValueError('predictions and labels must be (N,) of the same N; '
                         f'got {tuple(predictions.shape)} and {tuple(labels.shape)}.')
    return (predictions[labels != target] == target).double().mean()


def reidentification_ratio(pair_scores: Tensor, *, threshold: float) -> Tensor:
    """Share of samples whose nearest real image scores at least ``threshold``.

    Args:
        pair_scores: ``(N, M)`` probabilities that sample and real image show the same person.
        threshold: score from which a sample counts as re-identified (inclusive).

    Returns:
        A float64 scalar in 0..1. Source: Fernandez et al., 2023, arXiv:2306.01322; no reference code: our reading.
    """
    if pair_scores.ndim != 2 or 0 in pair_scores.shape:
        raise ValueError(f'pair_scores must be (N, M), neither 0; got {tuple(pair_scores.shape)}.')
    return (pair_scores.amax(1) >= threshold).double().mean()


def shuffle_tail_ratio(divergences: Tensor) -> Tensor:
    """Share of samples on which teacher and shuffled teacher agree suspiciously: a low tail of their divergence.

    Args:
        divergences: ``(N,)`` positive divergences per sample, before the logarithm.

    Returns:
        A float64 scalar in 0..1: the share whose ``log10`` lies more than three (population) standard deviations below
        the mean.

    Source: Hong et al., ICML 2023, arXiv:2306.02368; illidanlab/ABD@19c89bf.
    """
    if divergences.numel() == 0:
        raise ValueError('shuffle_tail_ratio needs at least one divergence.')
    logs = divergences.double().flatten().log10()
    return (logs < logs.mean() - 3 * logs.std(correction=0)).double().mean()
