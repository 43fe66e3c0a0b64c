import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import ACAM, ACAMKD, Batch, Progress, Shapes, acam_masked_loss, mask_diversity_loss


@pytest.mark.parametrize('query', ['teacher', 'student'])
@pytest.mark.parametrize('channels', [6, 5])
def test_masks_are_those_of_plain_attention(query, channels):
    torch.manual_seed(0)
    module = ACAMKD(channels, num_masks=3, query=query).double()
    student, teacher = torch.randn(2, 2, channels, 4, 5, dtype=torch.float64)
    s, t = (x.flatten(2).transpose(1, 2) for x in (student, teacher))
    asking, asked = (t, s) if query == 'teacher' else (s, t)
    scores = module.w_q(asking) @ module.w_k(asked).transpose(1, 2) / (channels // 2)**0.5
    fused = scores.softmax(2) @ module.w_v(asked)
    channel, spatial = module.masks(student, teacher)
    torch.testing.assert_close(channel, torch.sigmoid(module.channel_units * fused.mean(1)[:, None]))
    torch.testing.assert_close(spatial, torch.sigmoid(torch.einsum('mc,nlc->nml', module.spatial_units, fused)))


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_laws(seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, 4, 3, 3, generator=generator, dtype=torch.float64)
    channel, spatial = (torch.rand(2, 3, size, generator=generator, dtype=torch.float64) + 0.1 for size in (4, 9))
    terms = acam_masked_loss(student, teacher, channel, spatial)
    assert all(value == 0 for value in acam_masked_loss(teacher, teacher, channel, spatial).values())
    slow = torch.stack([(channel[n, m][:, None] * (teacher - student)[n].flatten(1)).square().sum() / (9 * channel[n, m].sum())
                        for n in range(2) for m in range(3)]).mean()
    torch.testing.assert_close(terms['channel'], slow)
    # with masks of ones both are the mean squared error
    ones = acam_masked_loss(student, teacher, torch.ones_like(channel), torch.ones_like(spatial))
    torch.testing.assert_close(ones['channel'], ones['spatial'])
    torch.testing.assert_close(ones['channel'], (student - teacher).square().mean())
    pairs = [2 * (x[i] * x[j]).sum() / (x[i].square().sum() + x[j].square().sum())
             for x in spatial for i in range(3) for j in range(3) if i != j]
    torch.testing.assert_close(mask_diversity_loss(spatial, reduction='pairwise'), torch.stack(pairs).mean())
    torch.testing.assert_close(mask_diversity_loss(spatial.flip(1)), mask_diversity_loss(spatial))


def test_diversity_of_equal_and_single_masks():
    equal = torch.rand(1, 1, 7).expand(2, 4, 7)
    assert mask_diversity_loss(equal).item() == pytest.approx(3)
    assert mask_diversity_loss(equal, reduction='pairwise').item() == pytest.approx(1)
    for reduction in ('ratio', 'pairwise'):
        assert mask_diversity_loss(equal[:, :1], reduction=reduction).abs() < 1e-6


def test_segmentation_has_as_many_masks_as_classes():
    torch.manual_seed(0)
    distiller = ACAM(num_masks=None, student_tap='logits', teacher_tap='logits', lambda_=0.5)
    shapes = Shapes({'logits': torch.Size((1, 5, 6, 6))}, {'logits': torch.Size((1, 5, 6, 6))}, num_classes=5)
    distiller.build(shapes)
    assert distiller.losses[0].spatial_units.shape == (5, 5)
    student, teacher = torch.randn(2, 2, 5, 6, 6)
    terms = distiller({'logits': student}, {'logits': teacher}, Batch(student), Progress())
    plain = distiller.losses[0](student, teacher)
    torch.testing.assert_close(terms['diversity'], 0.5 * plain['diversity'])
    torch.testing.assert_close(terms['channel'], plain['channel'])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_functions_are_finite_in_half_precision(dtype):
    x = torch.full((1, 4, 8, 8), 50.0, dtype=dtype)
    masks = torch.full((1, 2, 4), 0.5, dtype=dtype), torch.full((1, 2, 64), 0.5, dtype=dtype)
    assert all(value.isfinite() for value in acam_masked_loss(x, -x, *masks).values())
    assert mask_diversity_loss(masks[1]).isfinite()


def test_bad_input():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match='one shape'):
        acam_masked_loss(x, x[:, :1], torch.ones(1, 1, 2), torch.ones(1, 1, 9))
    with pytest.raises(ValueError, match='pairwise'):
        mask_diversity_loss(torch.ones(1, 2, 3), reduction='mean')
    with pytest.raises(ValueError, match='query'):
        ACAM(query='both')
    with pytest.raises(ValueError, match='num_masks'):
        ACAM(num_masks=None).build(Shapes({'neck': [x.shape]}, {'neck': [x.shape]}))
    with pytest.raises(ValueError, match='at least 1 mask'):
        ACAM(num_masks=0)
