import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmengine.registry import MODELS
from torch.autograd import gradcheck

ops = pytest.importorskip('mmcv.ops')
D = torch.float64


def some(groups=1, deform_groups=1, stride=(1, 1), dilation=(1, 1), dtype=D):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 6, 5, dtype=dtype), torch.randn(4, 4 // groups, 3, 2, dtype=dtype)
    out = F.conv2d(x, weight, stride=stride, padding=1, dilation=dilation, groups=groups).shape[2:]
    offset = torch.randn(2, deform_groups * 12, *out, dtype=dtype)
    mask = torch.rand(2, deform_groups * 6, *out, dtype=dtype)
    return x, weight, offset, mask


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('stride, dilation', [((1, 1), (1, 1)), ((2, 1), (1, 2))])
def test_without_offsets_it_is_a_convolution(groups, stride, dilation):
    x, weight, offset, mask = some(groups, 1, stride, dilation)
    expected = F.conv2d(x, weight, None, stride, 1, dilation, groups)
    still = torch.zeros_like(offset)
    torch.testing.assert_close(ops.deform_conv2d(x, still, weight, stride, 1, dilation, groups, 1), expected)
    found = ops.modulated_deform_conv2d(x, still, torch.ones_like(mask), weight, None, stride, 1, dilation, groups, 1)
    torch.testing.assert_close(found, expected)
    bias = torch.randn(4, dtype=D)
    found = ops.modulated_deform_conv2d(x, still, torch.full_like(mask, .5), weight, bias, stride, 1, dilation, groups, 1)
    torch.testing.assert_close(found, expected / 2 + bias[:, None, None])


def test_whole_offsets_move_the_map():
    x, weight, offset, _ = some()
    offset.zero_()
    offset[:, 0::2] = 1.  # every position reads one row below
    expected = F.conv2d(F.pad(x[:, :, 1:], (0, 0, 0, 1)), weight, padding=1)
    found = ops.deform_conv2d(x, offset, weight, 1, 1)
    torch.testing.assert_close(found[:, :, 1:], expected[:, :, 1:])  # the padding above moves too


@pytest.mark.parametrize('groups, deform_groups', [(1, 1), (2, 2), (1, 2)])
def test_as_torchvision(groups, deform_groups):
    x, weight, offset, mask = some(groups, deform_groups)
    torch.testing.assert_close(ops.deform_conv2d(x, offset, weight, 1, 1, 1, groups, deform_groups),
                               torchvision.ops.deform_conv2d(x, offset, weight, padding=1))
    torch.testing.assert_close(ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1, 1, groups, deform_groups),
                               torchvision.ops.deform_conv2d(x, offset, weight, padding=1, mask=mask))


@pytest.mark.parametrize('groups, deform_groups', [(1, 1), (2, 2)])
def test_gradients(groups, deform_groups):
    x, weight, offset, mask = (t.requires_grad_() for t in some(groups, deform_groups))
    bias = torch.randn(4, dtype=D, requires_grad=True)
    assert gradcheck(lambda *a: ops.deform_conv2d(*a, 1, 1, 1, groups, deform_groups), [x, offset, weight],
                     fast_mode=True)
    assert gradcheck(lambda *a: ops.modulated_deform_conv2d(*a, 1, 1, 1, groups, deform_groups),
                     [x, offset, mask, weight, bias], fast_mode=True)


def test_the_weights_gradient_alone():
    x, weight, offset, _ = some()
    grads = []
    for needs in (True, False):
        w = weight.clone().requires_grad_()
        ops.deform_conv2d(x.clone().requires_grad_(needs), offset, w, 1, 1).sin().sum().backward()
        grads.append(w.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('kind', ['DCN', 'DCNv2', 'SAC'])
def test_registered_layers_learn_their_offsets(kind):
    layer = MODELS.build(dict(type=kind, in_channels=4, out_channels=4, kernel_size=3, padding=1, **(
        dict(use_deform=True) if kind == 'SAC' else dict(deform_groups=2))))
    out = layer(torch.randn(2, 4, 5, 5))
    assert out.shape == (2, 4, 5, 5)
    out.square().sum().backward()
    moved = [name for name, p in layer.named_parameters() if 'offset' in name and p.grad.abs().sum() > 0]
    assert moved


@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_under_autocast(kind):
    layer = MODELS.build(dict(type=kind, in_channels=4, out_channels=4, kernel_size=3, padding=1))
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    torch.testing.assert_close(out.float(), layer(x), atol=0.05, rtol=0.05)
    assert x.grad.dtype == torch.float32 and layer.weight.grad.dtype == torch.float32


def test_on_meta_tensors_shapes_are_told():
    layer = MODELS.build(dict(type='DCNv2', in_channels=4, out_channels=6, kernel_size=3, padding=1)).to('meta')
    assert layer(torch.zeros(2, 4, 5, 7, device='meta')).shape == (2, 6, 5, 7)
