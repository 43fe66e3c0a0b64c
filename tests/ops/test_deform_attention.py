import pytest
import torch
from mmengine.registry import MODELS
from torch.autograd import gradcheck

attention = pytest.importorskip('mmcv.ops.multi_scale_deform_attn')
D = torch.float64
SHAPES = torch.tensor([[4, 3], [2, 2]])
STARTS = torch.tensor([0, 12])
on_kernel = attention.MultiScaleDeformableAttnFunction.apply  # what mmcv's module calls on CUDA


def some(seed=0):
    torch.manual_seed(seed)
    value, places = torch.randn(2, 16, 2, 3, dtype=D), torch.rand(2, 5, 2, 2, 4, 2, dtype=D) * 1.2 - 0.1
    weights = torch.randn(2, 5, 2, 8, dtype=D).softmax(-1).view(2, 5, 2, 2, 4)
    return value, places, weights


def test_the_kernel_is_mmcvs_python_form():
    value, places, weights = some()
    torch.testing.assert_close(on_kernel(value, SHAPES, STARTS, places, weights, 64),
                               attention.multi_scale_deformable_attn_pytorch(value, SHAPES, places, weights))


def test_at_a_pixels_middle_it_reads_the_pixel():
    value, _, _ = some()
    places = torch.zeros(2, 1, 2, 2, 1, 2, dtype=D)
    places[:, :, :, 0] = torch.tensor([(1 + .5) / 3, (2 + .5) / 4])  # column 1, row 2 of the first level
    places[:, :, :, 1] = torch.tensor([(0 + .5) / 2, (1 + .5) / 2])
    weights = torch.tensor([0.25, 0.75], dtype=D).view(1, 1, 1, 2, 1).expand(2, 1, 2, 2, 1)
    expected = 0.25 * value[:, 2 * 3 + 1] + 0.75 * value[:, 12 + 1 * 2 + 0]
    torch.testing.assert_close(on_kernel(value, SHAPES, STARTS, places, weights, 64)[:, 0], expected.flatten(1))


def test_gradients():
    value, places, weights = (t.requires_grad_() for t in some(1))
    assert gradcheck(lambda v, p, w: on_kernel(v, SHAPES, STARTS, p, w, 64), [value, places, weights], fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    value, places, weights = some()
    found = on_kernel(value.to(dtype), SHAPES, STARTS, places.float(), weights.float(), 64)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), on_kernel(value, SHAPES, STARTS, places, weights, 64), atol=0.05, rtol=0.05)


def test_the_module_under_autocast():
    layer = MODELS.build(dict(type='MultiScaleDeformableAttention', embed_dims=16, num_heads=2, num_levels=2,
                              batch_first=True, dropout=0.))
    query, places = torch.randn(2, 5, 16), torch.rand(2, 5, 2, 2)
    memory = torch.randn(2, 16, 16)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(query, value=memory, reference_points=places, spatial_shapes=SHAPES, level_start_index=STARTS)
    exact = layer(query, value=memory, reference_points=places, spatial_shapes=SHAPES, level_start_index=STARTS)
    torch.testing.assert_close(out.float(), exact, atol=0.05, rtol=0.05)
    out.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
