"""How closely a student's predictions follow a teacher's.

Stanton, Izmailov, Kirichenko, Alemi, Wilson, "Does Knowledge Distillation Really Work?", NeurIPS 2021,
arXiv:2106.05945; reference code samuelstanton/gnosis@7a40c5d.
"""
import math

import torch
from torch import Tensor

from zoo.metrics.accuracy import check_logits, topk_correct
from zoo.metrics.calibration import full_precision


def ensemble_logits(teacher_logits: Tensor) -> Tensor:
    """Log of the mean probability of an ensemble's members.

    Args:
        teacher_logits: ``(N, M, K)`` logits of ``M`` members.

    Returns:
        ``(N, K)`` log-probabilities.

    Raises:
        ValueError: where ``teacher_logits`` has not three dimensions.
    """
    if teacher_logits.ndim != 3:
        raise ValueError(f'an ensemble\'s logits must be (N, M, K); got {tuple(teacher_logits.shape)}.')
    members = full_precision(teacher_logits).log_softmax(-1)
    return members.logsumexp(1) - math.log(members.shape[1])


def paired_logits(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Both as ``(N, K)``, an ensemble reduced.

    Raises:
        ValueError: where the shapes do not match.
    """
    if teacher_logits.ndim == 3:
        teacher_logits = ensemble_logits(teacher_logits)
    check_logits(student_logits, name='student_logits')
    if teacher_logits.shape != student_logits.shape:
        raise ValueError('student_logits and teacher_logits must both be (N, K), the teacher\'s perhaps (N, M, K); '
                         f'got {tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}.')
    return student_logits, teacher_logits


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Share of samples whose top class is the same for student and teacher.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits: ``(N, K)``, or ``(N, M, K)`` for an ensemble.

    Returns:
        A scalar in 0..1 (the paper prints percent).
    """
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    same = student_logits.argmax(-1) == teacher_logits.argmax(-1)
    return same.to(full_precision(student_logits).dtype).mean()


def predictive_kl(student_logits: Tensor, teacher_logits: Tensor, *, reduction: str = 'mean') -> Tensor:
    """``KL(softmax(teacher) || softmax(student))`` at temperature 1, in nats.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits: ``(N, K)``, or ``(N, M, K)`` for an ensemble.
        reduction: ``mean`` over samples, or ``none``.

    Returns:
        A scalar, or ``(N,)`` for ``none``.
    """
    if reduction not in ('mean', 'none'):
        raise ValueError(f'reduction must be mean or none; got {reduction!r}.')
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    log_student = full_precision(student_logits).log_softmax(-1)
    log_teacher = full_precision(teacher_logits).log_softmax(-1)
    probability = log_teacher.exp()
    # a class the teacher excludes counts 0, also where the student excludes it too; nan stays nan
    rows = torch.where(probability == 0, 0, probability * (log_teacher - log_student)).sum(-1)
    return rows.mean() if reduction == 'mean' else rows


def topk_agreement(student_logits: Tensor, teacher_logits: Tensor, *, k: int = 1) -> Tensor:
    """Whether the teacher's top class is among the student's ``k`` highest.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits: ``(N, K)``, or ``(N, M, K)`` for an ensemble.
        k: number of the student's guesses, at least 1.

    Returns:
        ``(N,)`` of 0 and 1, in the dtype of the logits (float32 for half precision).

    Source: Beyer et al., CVPR 2022, arXiv:2106.05237; google-research/big_vision@0127fb6.
    """
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    hits = topk_correct(student_logits, teacher_logits.argmax(-1), k)
    return hits.to(full_precision(student_logits).dtype)


def sharpness_gap(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """How much sharper the teacher is: the difference of the mean log-sum-exp of the logits, teacher minus student.

    Args:
        student_logits: ``(N, K)``.
        teacher_logits: ``(M, L)``; it need not be of the same images or classes.

    Returns:
        A scalar, in nats.

    Source: Rao et al., IEEE TMM 2023, arXiv:2205.15308; no reference code for it: our reading of the paper.
    """
    check_logits(student_logits, name='student_logits')
    check_logits(teacher_logits, name='teacher_logits')
    student, teacher = (full_precision(z).logsumexp(-1).mean() for z in (student_logits, teacher_logits))
    return teacher - student


def teacher_stddev(teacher_logits: Tensor) -> Tensor:
    """How much a teacher's mean prediction varies over random subsets; lower for an augmentation that helps.

    Args:
        teacher_logits: ``(R, M, K)``: ``R >= 2`` subsets of ``M`` samples.

    Returns:
        A scalar: the standard deviation over subsets (``R - 1``) of the mean probability, averaged over classes.

    Source: Wang et al., NeurIPS 2022, arXiv:2012.02909; MingSun-Tse/Good-DA-in-KD@75443f9.
    """
    if teacher_logits.ndim != 3 or len(teacher_logits) < 2:
        raise ValueError('teacher_logits must be (R, M, K), at least 2 subsets of M samples; '
                         f'got {tuple(teacher_logits.shape)}.')
    return full_precision(teacher_logits).softmax(-1).mean(1).std(0).mean()
