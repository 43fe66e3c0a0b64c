"""Swing distillation: public samples untouched, noise, sources of the privacy score."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, Progress, Swing, swing_loss


def logits(seed, n=4, k=6):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 2.0))
def test_one_sample_at_a_time(seed, noise_scale):
    student, teacher, noise = logits(seed), logits(seed + 1), logits(seed + 2)
    privacy = torch.rand(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = 0.0
    for s, t, x, z in zip(student, teacher, privacy, noise):
        temperature = 2 + 3 * x
        p = ((t / temperature).softmax(0) + noise_scale * x * z).clamp(min=0)
        p = p / p.sum() if p.sum() > 0 else (t / temperature).softmax(0)
        expected -= temperature**2 * (p * (s / temperature).log_softmax(0)).sum() / 4
    loss = swing_loss(student, teacher, privacy, noise, t_min=2.0, t_max=5.0, noise_scale=noise_scale)
    torch.testing.assert_close(loss, expected)


def test_public_samples_are_distilled_as_usual():
    loss = swing_loss(logits(0), logits(1), torch.zeros(4), logits(2), t_min=1.0)
    torch.testing.assert_close(loss, F.cross_entropy(logits(0), logits(1).softmax(1)))


def test_a_target_without_mass_falls_back():
    student = logits(0).requires_grad_()
    loss = swing_loss(student, logits(1), torch.ones(4), torch.full((4, 6), -1.0), t_max=2.0, noise_scale=1e3)
    torch.testing.assert_close(loss, 4 * F.cross_entropy(student / 2, (logits(1) / 2).softmax(1)))
    loss.backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.tensor([[50.0, -50, 0], [-50, -50, 50]], dtype=dtype, requires_grad=True)
    loss = swing_loss(student, -student.detach(), torch.tensor([0.0, 0.5]), torch.randn(2, 3))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def run(distiller, **batch):
    torch.manual_seed(0)
    return distiller({'logits': logits(0)}, {'logits': logits(1)}, Batch(torch.zeros(4), **batch), Progress())['swing']


def expected_with(privacy, **options):
    torch.manual_seed(0)
    return swing_loss(logits(0), logits(1), torch.as_tensor(privacy), torch.randn_like(logits(1)), **options)


def test_sources_of_the_privacy_score(tmp_path):
    scores = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.save(tmp_path / 'scores.npy', scores)
    indices = torch.tensor([4, 0, 2, 2])
    torch.testing.assert_close(run(Swing(privacy=0.5)), expected_with([0.5] * 4))
    given_scores = [0.0, 1.0, 0.5, 0.25]
    torch.testing.assert_close(run(Swing(), extra={'privacy': given_scores}), expected_with(given_scores))
    table = Swing(privacy=str(tmp_path / 'scores.npy'), t_max=3.0)
    assert table.needs.indices
    torch.testing.assert_close(run(table, indices=indices), expected_with(scores[indices], t_max=3.0))
    member = Swing(privacy='membership')
    labels = torch.tensor([0, 5, 2, 2])
    assert member.needs.labels
    torch.testing.assert_close(run(member, labels=labels), expected_with(logits(1).softmax(1)[range(4), labels]))
    student = logits(0).requires_grad_()
    batch = Batch(torch.zeros(4), labels=labels)
    member({'logits': student}, {'logits': logits(1)}, batch, Progress())['swing'].backward()
    assert student.grad.any()


class Set:
    num_samples = 7


def test_bad_input(tmp_path):
    path = str(tmp_path / 'scores.npy')
    with pytest.raises(ValueError, match='no file'):
        Swing(privacy=path)
    np.save(path, np.array([0.0, 2.0]))
    with pytest.raises(ValueError, match=r'in \[0, 1\]'):
        Swing(privacy=path)
    np.save(path, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match='2 privacy scores'):
        Swing(privacy=path).prepare(Set())
    with pytest.raises(ValueError, match='batch.extra'):
        run(Swing())
    with pytest.raises(ValueError, match='one score a sample'):
        run(Swing(), extra={'privacy': torch.zeros(4, 2)})
    with pytest.raises(ValueError, match='Swing.*needs labels'):
        run(Swing(privacy='membership'))
    with pytest.raises(ValueError, match='privacy score'):
        Swing(privacy=1.5)
    with pytest.raises(ValueError, match='t_min'):
        Swing(t_min=3.0, t_max=2.0)
