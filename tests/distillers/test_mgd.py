import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import MGD, Batch, MGDLoss, Progress, Shapes


def test_which_positions_and_channels_are_hidden():
    """Spatial masks hide large noise and channel masks small noise; hidden values carry no gradient, the loss covers all."""
    torch.manual_seed(0)
    teacher = torch.randn(2, 4, 3, 3)
    for mask, shape in (('spatial', (2, 1, 3, 3)), ('channel', (2, 4, 1, 1))):
        module = MGDLoss(4, 4, mask_ratio=0.3, mask=mask)
        noise = torch.rand(shape, dtype=torch.float64)
        student = torch.randn(2, 4, 3, 3, requires_grad=True)
        loss = module(student, teacher, noise)
        hidden = (noise > 0.7 if mask == 'spatial' else noise < 0.3).expand(2, 4, 3, 3)
        expected = module.generation(student.masked_fill(hidden, 0))
        torch.testing.assert_close(loss, F.mse_loss(expected, teacher, reduction='sum') / 2)
        grad, = torch.autograd.grad(loss, student)
        assert hidden.any() and (grad[hidden] == 0).all() and (grad[~hidden] != 0).all()


def test_noise_is_drawn_anew():
    torch.manual_seed(0)
    module, student, teacher = MGDLoss(3, 5), torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6, 6)
    first, second = module(student, teacher), module(student, teacher)
    assert first != second
    torch.manual_seed(7)
    third = module(student, teacher)
    torch.manual_seed(7)
    assert module(student, teacher) == third


def test_all_or_nothing():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    nothing, everything = MGDLoss(4, 4, mask_ratio=0.0), MGDLoss(4, 4, mask_ratio=1.0)
    everything.load_state_dict(nothing.state_dict())
    torch.testing.assert_close(nothing(student, teacher),
                               F.mse_loss(nothing.generation(student), teacher, reduction='sum') / 2)
    torch.testing.assert_close(everything(student, teacher), everything(student + 5, teacher))


def test_levels_and_weight():
    torch.manual_seed(0)
    shapes = [torch.Size((1, 4, s, s)) for s in (4, 2, 1)]
    distiller = MGD(alpha=0.5, levels=(0, 2))
    distiller.build(Shapes({'neck': shapes}, {'neck': shapes}))
    maps = [torch.randn(2, *s[1:]) for s in shapes]
    torch.manual_seed(1)
    value = distiller({'neck': maps}, {'neck': maps}, Batch(maps[0]), Progress())['mgd']
    torch.manual_seed(1)
    torch.testing.assert_close(value, 0.5 * sum(loss(maps[i], maps[i]) for loss, i in zip(distiller.losses, (0, 2))))


def test_bad_input():
    with pytest.raises(ValueError, match="'spatial' or 'channel'"):
        MGD(mask='pixel')
    with pytest.raises(ValueError, match='mask_ratio'):
        MGDLoss(2, 2, mask_ratio=1.5)
