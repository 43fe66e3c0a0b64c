import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import Batch, Progress, ReviewKD, ReviewKDFusion, Shapes, hcl_loss

LATE = Progress(epoch=20)


def taps(widths, sizes, pooled, batch=4, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, c, s, s, generator=generator, requires_grad=grad) for c, s in zip(widths, sizes)]
    return maps, torch.randn(batch, pooled, generator=generator, requires_grad=grad)


def built(**options):
    """A student of four stages against a teacher of three larger ones."""
    torch.manual_seed(0)
    distiller = ReviewKD(**options)
    student, pooled = taps((3, 4, 5, 6), (16, 8, 4, 2), 7)
    teacher, teacher_pooled = taps((6, 8, 10), (12, 8, 4), 10)
    distiller.build(Shapes({'stages': [x.shape for x in student], 'pooled': pooled.shape},
                           {'preact_stages': [x.shape for x in teacher], 'pooled': teacher_pooled.shape}))
    return distiller


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_hcl_is_the_weighted_mean_over_scales(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, 3, height, width, generator=generator, dtype=torch.float64)
    parts, weights = [(student - teacher).square().mean()], [1.0]
    for size in (4, 2, 1):
        if size < height:
            difference = F.adaptive_avg_pool2d(student, size) - F.adaptive_avg_pool2d(teacher, size)
            parts.append(difference.square().mean())
            weights.append(weights[-1] / 2)
    expected = sum(p * w for p, w in zip(parts, weights)) / sum(weights)
    torch.testing.assert_close(hcl_loss([student, student], [teacher, teacher]), 2 * expected)
    assert hcl_loss([teacher], [teacher]) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_hcl_is_finite_in_half_precision(dtype):
    student = torch.full((2, 4, 8, 8), 300.0, dtype=dtype, requires_grad=True)
    loss = hcl_loss([student], [-student])
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and student.grad.isfinite().all()


def test_hcl_refuses_unequal_lists_and_shapes():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match='one length'):
        hcl_loss([x], [x, x])
    with pytest.raises(ValueError, match='one shape'):
        hcl_loss([x], [x[:, :1]])


def test_fusion_without_sizes_takes_maps_that_are_not_square():
    fusion = ReviewKDFusion([3, 4, 5], [6, 7, 8], 4)
    feats = [torch.randn(2, c, h, 2 * h, requires_grad=True) for c, h in ((3, 8), (4, 4), (5, 2))]
    outputs = fusion(feats)
    assert [tuple(x.shape) for x in outputs] == [(2, 6, 8, 16), (2, 7, 4, 8), (2, 8, 2, 4)]
    shallow, = torch.autograd.grad(outputs[2].square().sum(), feats[0], retain_graph=True, allow_unused=True)
    assert shallow is None  # the residual goes from deep to shallow only
    deep, = torch.autograd.grad(outputs[0].square().sum(), feats[2])
    assert deep.abs().sum() > 0
    assert 'abfs.0.att_conv.0.weight' not in fusion.state_dict() and 'abfs.2.att_conv.0.weight' in fusion.state_dict()


def test_fusion_refuses_lists_of_other_lengths():
    with pytest.raises(ValueError, match='out_channels'):
        ReviewKDFusion([3, 4], [3], 4)
    with pytest.raises(ValueError, match='2 maps and got 1'):
        ReviewKDFusion([3, 4], [3, 4], 4)([torch.zeros(2, 3, 4, 4)])


def test_steps_lower_the_loss_for_unlike_networks():
    distiller = built()
    maps, pooled = taps((3, 4, 5, 6), (16, 8, 4, 2), 7, grad=True)
    teacher, teacher_pooled = taps((6, 8, 10), (12, 8, 4), 10, seed=1)
    optimizer = torch.optim.SGD([*maps, pooled, *distiller.param_groups()[0]['params']], lr=0.1, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = distiller({'stages': maps, 'pooled': pooled}, {'preact_stages': teacher, 'pooled': teacher_pooled},
                         Batch(torch.zeros(4, 3, 16, 16)), LATE)['reviewkd']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert maps[0].grad is None  # a fourth stage has no partner


def test_warmup_single_image_and_state():
    distiller, other = built(warmup_epochs=10), built(warmup_epochs=10)
    maps, pooled = taps((3, 4, 5, 6), (16, 8, 4, 2), 7, grad=True)
    teacher, teacher_pooled = taps((6, 8, 10), (12, 8, 4), 10, seed=1)

    def term(distiller, count, epoch):
        return distiller({'stages': [x[:count] for x in maps], 'pooled': pooled[:count]},
                         {'preact_stages': [x[:count] for x in teacher], 'pooled': teacher_pooled[:count]},
                         Batch(torch.zeros(count, 3, 16, 16)), Progress(epoch=epoch))['reviewkd']

    torch.testing.assert_close(term(distiller, 4, 1) * 10, term(distiller, 4, 10))
    alone = term(distiller, 1, 5)
    alone.backward()
    assert alone == 0 and pooled.grad is not None
    with torch.no_grad():
        distiller.fusion.abfs[0].conv1[0].weight.add_(1)
    other.load_state_dict(distiller.state_dict())
    torch.testing.assert_close(term(other.eval(), 4, 3), term(distiller.eval(), 4, 3), rtol=0, atol=0)


def test_bad_input():
    with pytest.raises(ValueError, match='both to None'):
        ReviewKD(student_pooled=None)
    with pytest.raises(ValueError, match='student'):
        ReviewKD(student_feats='tokens').build(Shapes({'tokens': torch.Size((2, 5, 8)), 'pooled': torch.Size((2, 8))},
                                                      {'preact_stages': [], 'pooled': torch.Size((2, 8))}))
