import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import PKD, Batch, Progress, Shapes, pkd_loss


@settings(max_examples=20)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 50), shift=st.floats(-20, 20))
def test_one_minus_the_correlation(seed, scale, shift):
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loss = pkd_loss(student, teacher, eps=0.0)
    rows = [x.transpose(0, 1).flatten(1) for x in (student, teacher)]
    correlation = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*rows)])
    torch.testing.assert_close(loss, (1 - correlation).mean() * (39 / 40))  # the deviation is unbiased, the mean is not
    torch.testing.assert_close(pkd_loss(student * scale + shift, teacher, eps=0.0), loss)
    assert pkd_loss(teacher * scale, teacher, eps=0.0).abs() < 1e-9


def test_sizes():
    torch.manual_seed(0)
    small, large = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    up = torch.nn.functional.interpolate(small, size=(8, 8), mode='bilinear', align_corners=False)
    down = torch.nn.functional.interpolate(large, size=(4, 4), mode='bilinear', align_corners=False)
    torch.testing.assert_close(pkd_loss(small, large), pkd_loss(up, large))
    torch.testing.assert_close(pkd_loss(small, large, resize_student=False), pkd_loss(small, down))
    torch.testing.assert_close(pkd_loss([small, large], [large, large]), pkd_loss(small, large) + pkd_loss(large, large))
    with pytest.raises(ValueError, match='one shape'):
        pkd_loss(small, small[..., :3])
    with pytest.raises(ValueError, match='one length'):
        pkd_loss([small], [small, small])


def test_dead_channels_and_single_values():
    """No NaN, neither in the loss nor in its gradient."""
    x = torch.zeros(2, 3, 2, 2, requires_grad=True)
    loss = pkd_loss(x, torch.randn(2, 3, 2, 2))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()
    one = torch.ones(1, 3, 1, 1, requires_grad=True)
    loss = pkd_loss(one, torch.randn(1, 3, 1, 1))
    loss.backward()
    assert loss == 0 and one.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    x = torch.full((2, 2, 8, 8), 50.0, dtype=dtype)
    x[0] = -50
    assert pkd_loss(x, -x).isfinite() and pkd_loss(x, x) < 1e-6


def test_first_four_levels_paired_by_position():
    torch.manual_seed(0)
    sizes = {'student': (8, 4, 2, 1, 1), 'teacher': (16, 8, 4, 2, 1)}
    shapes = {side: [torch.Size((1, 3, s, s)) for s in own] for side, own in sizes.items()}
    distiller = PKD()
    distiller.build(Shapes({'neck': shapes['student']}, {'neck': shapes['teacher']}))
    student, teacher = ([torch.randn(2, 3, s, s) for s in sizes[side]] for side in ('student', 'teacher'))
    value = distiller({'neck': student}, {'neck': teacher}, Batch(student[0]), Progress())['pkd']
    torch.testing.assert_close(value, pkd_loss(student[:4], teacher[:4]))
    with pytest.raises(ValueError, match='4 and .*3; set neck'):
        PKD().build(Shapes({'neck': [torch.Size((1, 4, 2, 2))]}, {'neck': [torch.Size((1, 3, 2, 2))]}))
