import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import CWD, Batch, Progress, Shapes, cwd_loss


def maps(seed, shape=(2, 3, 4, 5)):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), temperature=st.floats(0.5, 8))
def test_laws(seed, temperature):
    student, teacher = maps(seed)
    loss = cwd_loss(student, teacher, temperature=temperature)
    slow = 0.0
    for n in range(2):
        for c in range(3):
            p, q = (torch.softmax(x[n, c].flatten() / temperature, 0) for x in (student, teacher))
            slow = slow + (q * (q.log() - p.log())).sum() * temperature**2 / (2 * 3)
    torch.testing.assert_close(loss, slow)
    # a channel's level does not matter, nor the order of positions
    torch.testing.assert_close(cwd_loss(student + torch.arange(3)[:, None, None], teacher - 2, temperature=temperature), loss)
    torch.testing.assert_close(cwd_loss(student.transpose(2, 3), teacher.transpose(2, 3), temperature=temperature), loss)
    assert cwd_loss(teacher, teacher, temperature=temperature).abs() < 1e-12 < loss


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    x = torch.full((1, 2, 8, 8), 50.0, dtype=dtype)
    x[0, 0, 0, 0] = -50
    x.requires_grad_()
    loss = cwd_loss(x, -x, temperature=1.0)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and x.grad.isfinite().all()


def built(student, teacher, **options):
    distiller = CWD(**options)
    distiller.build(Shapes({'logits': student}, {'logits': teacher}))
    return distiller


def test_single_maps_of_other_sizes_and_widths():
    torch.manual_seed(0)
    distiller = built(torch.Size((1, 3, 8, 8)), torch.Size((1, 5, 4, 6)))
    assert [tuple(p.shape) for p in distiller.parameters()] == [(5, 3, 1, 1)]
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 6)
    terms = distiller({'logits': student}, {'logits': teacher}, Batch(student), Progress())
    pooled = torch.nn.functional.adaptive_avg_pool2d(distiller.align[0](student), (4, 6))
    torch.testing.assert_close(terms['cwd'], cwd_loss(pooled, teacher))


def test_a_list_sums_its_levels():
    student, teacher = [torch.randn(2, 3, s, s) for s in (4, 2, 1)], [torch.randn(2, 3, s, s) for s in (4, 2, 1)]
    shapes = [x.shape for x in student]
    distiller = built(shapes, shapes, levels=(0, -2), temperature=1.0)
    terms = distiller({'logits': student}, {'logits': teacher}, Batch(student[0]), Progress())
    torch.testing.assert_close(terms['cwd'], sum(cwd_loss(student[i], teacher[i], temperature=1.0) for i in (0, 1)))


def test_bad_input():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match='one shape'):
        cwd_loss(x, x[..., :2])
    with pytest.raises(ValueError, match='temperature'):
        CWD(temperature=0)
    with pytest.raises(ValueError, match="student's tap 'logits'"):
        built(torch.Size((2, 10)), x.shape)
    with pytest.raises(ValueError, match='2 levels'):
        built([x.shape] * 2, [x.shape] * 3)
