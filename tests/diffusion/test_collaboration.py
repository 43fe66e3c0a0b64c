"""Adaptive collaboration: thresholds, selection, budget, and who is called with what."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.diffusion import (
    AdaptiveCollaboration,
    adaptive_select,
    adaptive_thresholds,
    average_steps,
    refinement_steps,
    rollback,
)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 100))
def test_thresholds_are_numpys_percentiles(scores, percentile):
    found = adaptive_thresholds(torch.tensor(scores, dtype=torch.float64), percentiles=(percentile,))
    np.testing.assert_allclose(found.item(), np.percentile(scores, percentile), rtol=1e-9, atol=1e-9)


def test_equality_keeps_the_student():
    assert adaptive_select(torch.tensor([0.9, 1.0, 1.1]), threshold=1.0).tolist() == [True, False, False]


@given(st.integers(1, 100), st.floats(0.05, 1.0))
def test_refinement_runs_about_as_many_steps_as_asked(steps, strength):
    found = refinement_steps(torch.tensor([steps]), torch.tensor([strength], dtype=torch.float64))
    assert abs(found['executed'].item() - steps) <= 1 and found['executed'] <= found['total']


def test_budget_and_rollback():
    assert average_steps(torch.tensor([True, False]), student_steps=4, teacher_steps=12).item() == 10
    image, noise = torch.randn(2, 3, 1, 2, 2)
    torch.testing.assert_close(rollback(image, noise, torch.ones(3), torch.zeros(3)), image)


class Team:
    """Records its calls; a prompt's number is its score."""

    def __init__(self):
        self.calls = []

    def student(self, prompts, generator=None):
        return torch.zeros(len(prompts), 1, 2, 2) + torch.randn(1, generator=generator) * 0

    def teacher(self, prompts, images=None, **options):
        self.calls.append((list(prompts), None if images is None else images.shape, options))
        return torch.ones(len(prompts), 1, 2, 2)

    def estimate(self, prompts, images):
        return torch.tensor([float(p) for p in prompts])


@pytest.mark.parametrize('strategy', ['refine', 'regenerate'])
@pytest.mark.parametrize('kind', [list, torch.tensor])
def test_teacher_sees_the_poor_ones_only(strategy, kind):
    team, generator = Team(), torch.Generator().manual_seed(0)
    both = AdaptiveCollaboration(team.student, team.teacher, team.estimate, threshold=2.0, strategy=strategy, strength=0.5,
                                 teacher_steps=3)
    found = both(kind([3, 1, 2, 0]), generator)
    assert found['needs_teacher'].tolist() == [False, True, False, True]
    assert found['images'].flatten(1)[:, 0].tolist() == [0, 1, 0, 1] and found['scores'].tolist() == [3, 1, 2, 0]
    (prompts, shape, options), = team.calls
    assert [int(p) for p in prompts] == [1, 0] and options['generator'] is generator and options['steps'] == 3
    assert (shape == (2, 1, 2, 2) and options['strength'] == 0.5) if strategy == 'refine' else 'strength' not in options
    both(kind([3, 2]), generator)
    assert len(team.calls) == 1


def test_bad_options():
    team = Team()
    for options, message in ((dict(strategy='refined'), 'strategy'), (dict(strength=0.0), 'strength')):
        with pytest.raises(ValueError, match=message):
            AdaptiveCollaboration(team.student, team.teacher, team.estimate, threshold=0.0, **options)
    with pytest.raises(ValueError, match='needs scores'):
        adaptive_thresholds(torch.zeros(0))
