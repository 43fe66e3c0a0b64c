import pytest
import torch
from mmengine.registry import MODELS
from torch.autograd import gradcheck

ops = pytest.importorskip('mmcv.ops')
D = torch.float64


def test_carafe_by_hand():
    torch.manual_seed(0)
    k, groups, scale = 3, 2, 2
    x, masks = torch.randn(1, 4, 3, 2, dtype=D), torch.randn(1, groups * k * k, 6, 4, dtype=D)
    expected = torch.zeros(1, 4, 6, 4, dtype=D)
    for c in range(4):
        for y in range(6):
            for z in range(4):
                for i in range(k):
                    for j in range(k):
                        row, column = y // scale + i - 1, z // scale + j - 1
                        if 0 <= row < 3 and 0 <= column < 2:
                            expected[0, c, y, z] += x[0, c, row, column] * masks[0, (c // 2 * k + i) * k + j, y, z]
    torch.testing.assert_close(ops.carafe(x, masks, k, groups, scale), expected)
    torch.testing.assert_close(ops.CARAFENaive(k, groups, scale)(x, masks), expected)
    assert gradcheck(lambda a, b: ops.carafe(a, b, k, groups, scale), [x.requires_grad_(), masks.requires_grad_()])


def test_carafe_layer():
    layer = MODELS.build(dict(type='carafe', channels=4, scale_factor=2, compressed_channels=8))
    x = torch.randn(1, 4, 5, 6)
    out = layer(x)
    assert out.shape == (1, 4, 10, 12)
    out.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    # kernels sum to 1: a constant map stays constant away from the border
    torch.testing.assert_close(layer(torch.ones(1, 4, 9, 9))[..., 4:-4, 4:-4], torch.ones(1, 4, 10, 10))
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), out, atol=0.05, rtol=0.05)


def test_masked_convolution():
    layer = ops.MaskedConv2d(3, 4, (3, 5), padding=(1, 2))
    x, mask = torch.randn(1, 3, 5, 6), torch.rand(1, 5, 6) - 0.5
    with torch.no_grad():
        torch.testing.assert_close(layer(x, mask), torch.where(mask[:, None] > 0, layer(x), 0.))
        assert layer(x, torch.zeros(1, 5, 6)).eq(0).all()


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('window', [(3, 5), (7, 9)])
def test_psa_mask_by_hand(kind, window):
    torch.manual_seed(0)
    height, width = 4, 5
    x = torch.randn(2, window[0] * window[1], height, width, dtype=D)
    expected = torch.zeros(2, height * width, height, width, dtype=D)
    for h in range(height):
        for w in range(width):
            for i in range(window[0]):
                for j in range(window[1]):
                    row, column = h + i - (window[0] - 1) // 2, w + j - (window[1] - 1) // 2
                    if 0 <= row < height and 0 <= column < width:
                        value = x[:, i * window[1] + j, h, w]
                        if kind == 'collect':
                            expected[:, row * width + column, h, w] = value
                        else:
                            expected[:, h * width + w, row, column] = value
    layer = ops.PSAMask(kind, window)
    torch.testing.assert_close(layer(x), expected)
    if window == (3, 5):
        assert gradcheck(layer, [x.requires_grad_()], fast_mode=True)


def test_tin_shift_by_hand():
    torch.manual_seed(0)
    x, shift = torch.randn(2, 4, 6, 3, dtype=D), torch.tensor([[1, -2, 0], [5, 3, -1]], dtype=torch.int32)
    expected = torch.zeros_like(x)
    for n in range(2):
        for t in range(4):
            for c in range(6):
                to = t + shift[n, c // 2].item()
                if 0 <= to < 4:
                    expected[n, to, c] = x[n, t, c]
    assert torch.equal(ops.tin_shift(x, shift), expected)
    assert gradcheck(lambda m: ops.tin_shift(m, shift), [x.requires_grad_()], fast_mode=True)


@pytest.mark.parametrize('mode, expected', [('right', [1., 3., 3., 3.]), ('left', [3., 3., 2., 2.])])
def test_corner_pooling(mode, expected):
    assert ops.CornerPool(mode)(torch.tensor([[[[1., 3., 0., 2.]]]])).flatten().tolist() == expected


def test_criss_cross_attention():
    layer = ops.CrissCrossAttention(16)
    x = torch.randn(1, 16, 3, 4)
    torch.testing.assert_close(layer(x), x)  # its scale begins at 0
