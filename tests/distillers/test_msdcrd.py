import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import MSDCRD, Batch, Progress, Shapes, batch_infonce_loss, msdcrd_loss, multi_scale_pool


@settings(max_examples=20, deadline=None)
@given(height=st.integers(2, 6), width=st.integers(2, 6), stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_pool_by_loops(height, width, stride, seed):
    feat = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = [feat[:, :, i:i + k, j:j + k].mean((2, 3)) for k in (2, 1)
                for i in range(0, height - k + 1, stride) for j in range(0, width - k + 1, stride)]
    torch.testing.assert_close(multi_scale_pool(feat, scales=[2, 1], stride=stride), torch.stack(expected, 1))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), axis=st.sampled_from(['sample', 'feature']))
def test_infonce_ignores_order_and_norms(seed, axis):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    loss = batch_infonce_loss(student, teacher, axis=axis)
    rows, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    moved = batch_infonce_loss(student[rows][:, columns] * 3, teacher[rows][:, columns] / 2, axis=axis)
    torch.testing.assert_close(moved, loss)


def test_mask_picks_the_anchors():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    mask = torch.tensor([True, False, True, False])
    logits = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).t() / 0.1
    expected = (logits.logsumexp(1) - logits.diag())[mask].mean()
    torch.testing.assert_close(batch_infonce_loss(student, teacher, mask=mask), expected)
    assert batch_infonce_loss(student, teacher, mask=torch.zeros(4, dtype=torch.bool)) == 0
    maps = torch.randn(2, 2, 3, 2, 2, generator=generator, dtype=torch.float64)
    whole = msdcrd_loss(*maps, scales=[2, 1])
    all_anchors = msdcrd_loss(*maps, scales=[2, 1], mask=torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(all_anchors, whole)
    first = msdcrd_loss(*maps, scales=[2, 1], mask=torch.tensor([[True] + [False] * 4] * 2))
    expected = batch_infonce_loss(*(m.mean((2, 3)) for m in maps)) / 2
    torch.testing.assert_close(first['sample'], expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    feat = torch.full((2, 4, 4, 4), 50.0, dtype=dtype, requires_grad=True)
    terms = msdcrd_loss(feat, -feat.detach(), scales=[4, 2])
    sum(terms.values()).backward()
    assert all(v.isfinite() and v.dtype == torch.float32 for v in terms.values()) and feat.grad.isfinite().all()


@pytest.mark.parametrize('student_shape, teacher_shape, size', [
    ((2, 3, 8, 8), (2, 6, 4, 4), (4, 4)), ((2, 17, 5), (2, 6, 8, 8), (4, 4)), ((2, 3, 4, 6), (2, 10, 7), (3, 3))])
def test_maps_and_tokens_of_any_size(student_shape, teacher_shape, size):
    torch.manual_seed(0)
    distiller = MSDCRD(temperature=0.2)
    distiller.build(Shapes({'final_map': torch.Size(student_shape)}, {'final_map': torch.Size(teacher_shape)}))
    assert distiller.size == size and distiller.scales[0] == min(size)
    student, teacher = torch.randn(6, *student_shape[1:], requires_grad=True), torch.randn(6, *teacher_shape[1:])
    optimizer = torch.optim.SGD([student, *distiller.param_groups()[0]['params']], lr=0.2, momentum=0.9)
    losses = []
    for _ in range(8):
        terms = distiller({'final_map': student}, {'final_map': teacher}, Batch(torch.zeros(6, 3, 8, 8)), Progress())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(terms.values()).item())
    assert losses[-1] < 0.9 * losses[0]
    alone = distiller({'final_map': student[:1]}, {'final_map': teacher[:1]}, Batch(torch.zeros(1, 3, 8, 8)),
                      Progress())
    assert all(v.isfinite() for v in alone.values())


def test_single_value_gives_a_zero_term():
    distiller = MSDCRD()
    distiller.build(Shapes({'final_map': torch.Size((2, 3, 1, 1))}, {'final_map': torch.Size((2, 4, 2, 2))}))
    student = torch.randn(1, 3, 1, 1, requires_grad=True)
    terms = distiller({'final_map': student}, {'final_map': torch.randn(1, 4, 2, 2)}, Batch(student), Progress())
    sum(terms.values()).backward()
    assert terms['sample'] == 0 and student.grad is not None


def test_bad_input():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match='from 1 to 4'):
        multi_scale_pool(x, scales=[5])
    with pytest.raises(ValueError, match='axis'):
        batch_infonce_loss(x[..., 0, 0], x[..., 0, 0], axis='channel')
    with pytest.raises(ValueError, match='one shape'):
        msdcrd_loss(x, x[:, :2], scales=[1])
    shapes = Shapes({'final_map': torch.Size((2, 3, 4, 4))}, {'final_map': torch.Size((2, 3, 8, 8))})
    with pytest.raises(ValueError, match='between 1 and 4'):
        MSDCRD(scales=[8]).build(shapes)
    with pytest.raises(ValueError, match="student's tap"):
        MSDCRD(student_feat='stages').build(Shapes({'stages': []}, shapes.teacher))
