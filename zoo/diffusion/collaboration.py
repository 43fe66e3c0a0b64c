"""Adaptive collaboration: a fast student draws every image, its teacher refines only those that score low.

Starodubcev, Fedorov, Babenko, Baranchuk: Your Student is Better Than Expected: Adaptive Teacher-Student Collaboration for
Text-Conditional Diffusion Models, CVPR 2024, arXiv:2312.10835. Reference code: yandex-research/adaptive-diffusion@e36646b.
Nothing is trained: it is a way of using any student of this zoo.
"""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .parametrisation import broadcast_left


def adaptive_thresholds(scores: Tensor, *, percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90)) -> Tensor:
    """Percentiles of the student's scores, interpolated between order statistics: ``(len(percentiles),)``.

    Args:
        scores: ``(N,)``, of the student's images for many prompts.
    """
    if scores.numel() == 0:
        raise ValueError('adaptive_thresholds needs scores, and there are none.')
    wanted = torch.tensor(percentiles, dtype=torch.float64, device=scores.device) / 100
    # sorted by hand: torch.quantile refuses more than 2^24 values
    ordered = scores.flatten().double().sort().values
    position = wanted * (len(ordered) - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below).to(scores.dtype)


def adaptive_select(scores: Tensor, *, threshold: float | Tensor) -> Tensor:
    """Bool ``(N,)``, True where the teacher is needed: strictly below the threshold."""
    return scores < threshold


def refinement_steps(teacher_steps: Tensor, strength: Tensor) -> dict[str, Tensor]:
    """How many steps a refinement's schedule has, and how many of them are run.

    Args:
        teacher_steps: int ``(N,)``, about how many steps the teacher shall take.
        strength: float ``(N,)`` in 0..1, how far the image is noised again.

    Returns:
        ``total`` and ``executed``, int64 ``(N,)``. Counted in float64, as the reference does: rounding may make
        ``executed`` one less than ``teacher_steps``.
    """
    total, executed = [], []
    for steps, share in zip(teacher_steps.reshape(-1).tolist(), strength.reshape(-1).double().tolist()):
        count = int(steps / share + 1)
        total.append(count)
        executed.append(min(int(count * share), count))
    return {'total': torch.tensor(total, dtype=torch.int64), 'executed': torch.tensor(executed, dtype=torch.int64)}


def rollback(sample: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """``alpha sample + sigma noise``: the image at the noise level from which the teacher goes on."""
    return broadcast_left(alpha, sample) * sample + broadcast_left(sigma, sample) * noise


def average_steps(needs_teacher: Tensor, *, student_steps: int, teacher_steps: int) -> Tensor:
    """Mean number of network steps an image, float64 scalar: the student's, and the teacher's where it is needed."""
    return student_steps + teacher_steps * needs_teacher.double().mean()


class AdaptiveCollaboration:
    """Student first; the teacher where the estimator says so.

    Args:
        student: ``student(prompts, generator=g) -> images (N, ...)``.
        teacher: ``teacher(prompts, images, strength=, steps=, generator=g)`` for ``'refine'``,
            ``teacher(prompts, steps=, generator=g)`` for ``'regenerate'``.
        estimator: ``estimator(prompts, images) -> (N,)``, higher is better.
        threshold: of :func:`adaptive_thresholds`, found with the same settings.
        strategy: ``'refine'`` (the student's image is noised again and finished by the teacher) or ``'regenerate'``.
        strength: how far it is noised again, 0..1.
        teacher_steps: about how many steps the teacher takes.

    Raises:
        ValueError: for an unknown strategy or a strength outside of 0..1.
    """

    def __init__(self, student: Callable, teacher: Callable, estimator: Callable, *, threshold: float,
                 strategy: str = 'refine', strength: float = 0.4, teacher_steps: int = 4):
        if strategy not in ('refine', 'regenerate'):
            raise ValueError(f"strategy is 'refine' or 'regenerate', not {strategy!r}.")
        if not 0 < strength <= 1:
            raise ValueError(f'strength lies in 0..1 (above 0), not at {strength}.')
        self.student, self.teacher, self.estimator = student, teacher, estimator
        self.threshold, self.strategy, self.strength, self.teacher_steps = threshold, strategy, strength, teacher_steps

    def __call__(self, prompts, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw images for prompts (a list, or a tensor ``(N, ...)``).

        Returns:
            ``images``; ``scores`` ``(N,)`` of the student's images; ``needs_teacher`` ``(N,)`` bool. The teacher is called
            once, with the selected prompts only, and not at all if there are none.
        """
        images = self.student(prompts, generator=generator)
        scores = self.estimator(prompts, images)
        needs = adaptive_select(scores, threshold=self.threshold)
        chosen = needs.nonzero().flatten()
        if len(chosen):
            some = prompts[chosen] if isinstance(prompts, Tensor) else [prompts[i] for i in chosen.tolist()]
            if self.strategy == 'refine':
                better = self.teacher(some, images[chosen.to(images.device)], strength=self.strength,
                                      steps=self.teacher_steps, generator=generator)
            else:
                better = self.teacher(some, steps=self.teacher_steps, generator=generator)
            images = images.clone()
            images[chosen.to(images.device)] = better.to(images.dtype)
        return {'images': images, 'scores': scores, 'needs_teacher': needs}
