"""Each kernel on each device against float64 on the CPU."""
import pytest
import torch

ops = pytest.importorskip('mmcv.ops')
attention = pytest.importorskip('mmcv.ops.multi_scale_deform_attn')

ROIS = torch.tensor([[0, 1.3, 2.1, 9.7, 11.2], [1, 3., 2., 6.5, 5.5]])
LABELS = torch.tensor([0, 2, 3, 1, 3])
SHAPES, STARTS = torch.tensor([[4, 3], [2, 2]]), torch.tensor([0, 12])

#: name -> (function of the float tensors first and the others after them, shapes of the float tensors, the others)
CASES = {
    'sigmoid_focal_loss': (lambda x, t: ops.sigmoid_focal_loss(x, t, 2., .25, None, 'none'), [(5, 3)], [LABELS]),
    'softmax_focal_loss': (lambda x, t: ops.softmax_focal_loss(x, t, 2., .25, None, 'mean'), [(5, 4)], [LABELS]),
    'roi_align_avg': (lambda x, r: ops.roi_align(x, r.to(x), (2, 3), .5, 2, 'avg', True), [(2, 3, 8, 7)], [ROIS]),
    'roi_align_max': (lambda x, r: ops.roi_align(x, r.to(x), (2, 3), .5, 2, 'max', True), [(2, 3, 8, 7)], [ROIS]),
    'roi_pool': (lambda x, r: ops.roi_pool(x, r.to(x), (2, 2), .5), [(2, 3, 8, 7)], [ROIS]),
    'deform_roi_pool': (lambda x, o, r: ops.deform_roi_pool(x, r.to(x), o, (2, 2), .5, 2, .1), [(2, 3, 8, 7), (2, 2, 2, 2)],
                        [ROIS]),
    'border_align': (lambda x, r: ops.border_align(x, r[None, :, 1:].expand(2, -1, -1).to(x), 4), [(2, 4, 8, 7)], [ROIS]),
    'deform_conv2d': (lambda x, o, w: ops.deform_conv2d(x, o, w, 1, 1), [(2, 4, 5, 5), (2, 18, 5, 5), (3, 4, 3, 3)], []),
    'modulated_deform_conv2d': (lambda x, o, m, w, b: ops.modulated_deform_conv2d(x, o, m.sigmoid(), w, b, 1, 1),
                                [(2, 4, 5, 5), (2, 18, 5, 5), (2, 9, 5, 5), (3, 4, 3, 3), (3,)], []),
    'deformable_attention': (lambda v, p, w, s, t: attention.MultiScaleDeformableAttnFunction.apply(
        v, s, t, p.sigmoid(), w, 64), [(2, 16, 2, 4), (2, 5, 2, 2, 3, 2), (2, 5, 2, 2, 3)], [SHAPES, STARTS]),
    'carafe': (lambda x, m: ops.carafe(x, m, 3, 1, 2), [(1, 4, 3, 4), (1, 9, 6, 8)], []),
    'psa_mask': (ops.PSAMask('distribute', (3, 5)), [(1, 15, 4, 3)], []),
    'tin_shift': (ops.tin_shift, [(2, 4, 6, 3)], [torch.tensor([[1, -2, 0], [5, 3, -1]], dtype=torch.int32)]),
}
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA'))]


def run(name, device, dtype):
    function, shapes, others = CASES[name]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()
               for shape in shapes]
    out = function(*tensors, *(t.to(device) for t in others))
    grads = torch.autograd.grad(out, tensors, torch.ones_like(out))
    return [t.detach().double().cpu() for t in (out, *grads)], {t.dtype for t in (out, *grads)}


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
@pytest.mark.parametrize('name', CASES)
def test_values_and_gradients(name, dtype, tolerance, device):
    expected, _ = run(name, 'cpu', torch.float64)
    found, dtypes = run(name, device, dtype)
    assert dtypes == {dtype}
    for a, b in zip(found, expected, strict=True):
        # half precision rounds the inputs: a sample may fall on the other side of a pixel, so the mean error counts
        assert (a - b).abs().mean() <= tolerance * max(1., b.abs().mean())


@pytest.mark.parametrize('device', DEVICES)
def test_boxes(device):
    torch.manual_seed(0)
    corner = torch.rand(40, 2) * 20
    boxes, scores, labels = torch.cat([corner, corner + torch.rand(40, 2) * 20 + 1], 1), torch.rand(40), torch.arange(40) % 3
    turned = torch.cat([corner, torch.rand(40, 2) * 9 + 1, torch.rand(40, 1)], 1)
    for function, tensors in ((lambda b, s: ops.nms(b, s, .5, offset=1), (boxes, scores)),
                              (lambda b, s: ops.soft_nms(b, s, method='gaussian'), (boxes, scores)),
                              (lambda b, s, k: ops.batched_nms(b, s, k, dict(type='nms', iou_threshold=.5)),
                               (boxes, scores, labels)),
                              (lambda b, s, k: ops.nms_rotated(b, s, .3, k), (turned, scores, labels)),
                              (lambda b, s: (ops.bbox_overlaps(b, b.flip(0)), s), (boxes, scores)),
                              (lambda b, s: (ops.box_iou_rotated(b, b.flip(0)), s), (turned, scores))):
        found = function(*(t.to(device) for t in tensors))
        assert all(t.device.type == device for t in found)
        expected = function(*(t.double() if t.is_floating_point() else t for t in tensors))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.cpu().double(), b.double(), atol=1e-4, rtol=1e-4)
