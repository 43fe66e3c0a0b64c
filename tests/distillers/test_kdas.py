"""KDAS: slow references, what its released attention term does not do, and the class."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import (
    KDAS,
    Batch,
    Progress,
    Shapes,
    attention_supervision_loss,
    kdas_loss,
    structure_loss,
    symmetric_guiding_loss,
)


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('weighted', [False, True])
def test_structure_by_definition(weighted):
    logits, mask = double(2, 1, 9, 7), torch.rand(2, 1, 9, 7).double()
    losses = []
    every = F.binary_cross_entropy_with_logits(logits, mask)
    for n in range(2):
        m, p = mask[n, 0], logits[n, 0].sigmoid()
        w = 1 + 5 * (m.sum() / 31**2 - m).abs()  # a 31x31 window around any of these pixels holds the whole map
        bce = (w * -(m * p.log() + (1 - m) * (1 - p).log())).sum() / w.sum() if weighted else every
        inter, union = (p * m * w).sum(), ((p + m) * w).sum()
        losses.append(bce + 1 - (inter + 1) / (union - inter + 1))
    torch.testing.assert_close(structure_loss(logits, mask, weighted_bce=weighted), torch.stack(losses).mean())


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_guiding_laws(seed):
    """Zero at the teacher; blind to what is antisymmetric."""
    student, teacher = double(2, 1, 6, 6, seed=seed), double(2, 1, 6, 6, seed=seed + 1)
    assert symmetric_guiding_loss(teacher, teacher) == 0
    skew = double(2, 1, 6, 6, seed=seed + 2)
    torch.testing.assert_close(symmetric_guiding_loss(student + skew - skew.mT, teacher),
                               symmetric_guiding_loss(student, teacher))


def test_guiding_pools_the_student():
    student, teacher = double(2, 1, 8, 8), double(2, 1, 4, 4, seed=1)
    expected = F.mse_loss(F.adaptive_avg_pool2d(student + student.mT, 4), teacher + teacher.mT)
    torch.testing.assert_close(symmetric_guiding_loss(student, teacher), expected)


def test_released_attention_teaches_nothing():
    """Its value does not depend on the student, and its gradient is zero but there."""
    teacher = double(2, 1, 5, 5)
    student = double(2, 1, 5, 5, seed=1).requires_grad_()
    loss = attention_supervision_loss(student, teacher)
    assert loss.isfinite(), 'negative targets give no NaN'
    assert torch.autograd.grad(loss, student)[0].abs().max() == 0
    torch.testing.assert_close(loss, attention_supervision_loss(teacher, teacher))
    target = F.scaled_dot_product_attention(teacher, teacher, teacher) / 2
    entropy = torch.where(target > 0, target * target.clamp(min=1e-300).log(), 0)
    torch.testing.assert_close(loss.detach(), (entropy - target / 2).mean())


def test_repaired_attention_is_zero_at_the_teacher_and_falls():
    teacher = double(2, 1, 5, 5)
    assert attention_supervision_loss(teacher, teacher, mode='repaired').abs() < 1e-12
    student = double(2, 1, 5, 5, seed=1).requires_grad_()
    losses = []
    for _ in range(20):
        loss = attention_supervision_loss(student, teacher, mode='repaired')
        grad, = torch.autograd.grad(loss, student)
        student.data -= 0.1 * grad
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize('mode', ['official', 'repaired'])
def test_weights_of_the_parts(mode):
    p1, p2, t1, t2 = (double(1, 1, 6, 6, seed=s) for s in range(4))
    mask = torch.rand(1, 1, 6, 6).double()
    parts = kdas_loss(p1, p2, t1, t2, mask, temperature=3.0, alpha=0.2, mode=mode)
    attention = sum(attention_supervision_loss(s, t, temperature=3.0, mode=mode) for s, t in ((p1, t1), (p2, t2)))
    torch.testing.assert_close(parts['seg'], 0.8 * (structure_loss(p1, mask) + structure_loss(p2, mask)))
    torch.testing.assert_close(parts['attention'], 0.2 * (9 if mode == 'official' else 1) * attention)
    torch.testing.assert_close(parts['guiding'], 0.2 * symmetric_guiding_loss(p1, t1))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('mode', ['official', 'repaired'])
def test_half_precision_is_finite(dtype, mode):
    student = (50 * torch.randn(1, 1, 8, 8).sign()).to(dtype)
    parts = kdas_loss(student, student, -student, -student, torch.ones(1, 1, 8, 8).to(dtype), mode=mode)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in parts.values())


# ---- class

def made(**options):
    distiller = KDAS(**options)
    shape = torch.Size((2, 1, 8, 8))
    distiller.build(Shapes(dict.fromkeys(distiller.needs.student, shape), dict.fromkeys(distiller.needs.teacher, shape)))
    return distiller


def batch(height=16, width=16):
    labels = torch.zeros(2, height, width, dtype=torch.long)
    labels[:, :6, 3:9] = 1
    return Batch(torch.zeros(2, 3, height, width), labels=labels)


def test_class_equals_the_function_on_full_square_maps():
    data = batch()
    student, teacher = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    terms = made(mode='repaired')({'logits': student}, {'logits': teacher}, data, Progress())
    expected = kdas_loss(student, student, teacher, teacher, data.labels[:, None].float(), mode='repaired')
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


@pytest.mark.parametrize('mode', ['official', 'repaired'])
def test_steps_lower_the_loss(mode):
    """Small maps, images that are not square, two different maps."""
    student = {name: torch.randn(2, 1, 4, 6).requires_grad_() for name in ('logits', 'aux_logits')}
    teacher = {name: torch.randn(2, 1, 8, 12) for name in ('logits', 'aux_logits')}
    distiller, data, losses = made(mode=mode, second='aux_logits'), batch(16, 24), []
    optimizer = torch.optim.Adam(student.values(), lr=0.05)
    for _ in range(10):
        loss = sum(distiller(student, teacher, data, Progress()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_ignored_pixels():
    """They pull at no logit; all ignored is finite."""
    data, distiller = batch(), made(alpha=0.0)
    data.labels[:, 8:] = 255
    student = torch.randn(2, 1, 16, 16).requires_grad_()
    distiller({'logits': student}, {'logits': student.detach()}, data, Progress())['seg'].backward()
    assert student.grad[:, :, 8:].abs().max() == 0 and student.grad[:, :, :8].abs().max() > 0
    data.labels.fill_(255)
    terms = distiller({'logits': student}, {'logits': student.detach()}, data, Progress())
    assert all(value.isfinite() for value in terms.values())
    assert torch.autograd.grad(sum(terms.values()), student)[0].isfinite().all()


def test_bad_input(caplog):
    with pytest.raises(ValueError, match='square'):
        symmetric_guiding_loss(torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match='one channel'):
        attention_supervision_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match='one shape'):
        attention_supervision_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8), mode='repaired')
    with pytest.raises(ValueError, match='one shape'):
        structure_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="'official' or 'repaired'"):
        KDAS(mode='fixed')
    with pytest.raises(ValueError, match='alpha'):
        KDAS(alpha=2.0)
    with pytest.raises(ValueError, match='out_channels=1'):
        KDAS().build(Shapes({'logits': torch.Size((2, 2, 8, 8))}, {'logits': torch.Size((2, 1, 8, 8))}))


def test_binary_scenes():
    """Digits against background; the rims stay ignored."""
    from zoo.data import DigitScenes
    binary, full = (DigitScenes(form=form, scenes=1, size=48).record(0)['read_label_map']()
                    for form in ('foreground', 'segmentation'))
    assert set(binary.flatten().tolist()) == {0, 1, 255}
    assert ((full == 255) == (binary == 255)).all()
    assert (((full > 0) & (full < 255)) == (binary == 1)).all()
