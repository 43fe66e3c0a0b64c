import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch.autograd import gradcheck

ops = pytest.importorskip('mmcv.ops')
D = torch.float64


def some(n=7, k=4, seed=0, dtype=D):
    torch.manual_seed(seed)
    return torch.randn(n, k, dtype=dtype) * 3, torch.randint(0, k + 1, (n,))


@pytest.mark.parametrize('gamma', [0., 0.5, 2.])
def test_sigmoid_form_is_torchvisions(gamma):
    logits, target = some()
    one_hot = F.one_hot(target, 5)[:, :4].to(D)  # the label K is background
    expected = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha=0.3, gamma=gamma, reduction='none')
    torch.testing.assert_close(ops.sigmoid_focal_loss(logits, target, gamma, 0.3, None, 'none'), expected)
    mean = ops.SigmoidFocalLoss(gamma, 0.3)(logits, target)
    torch.testing.assert_close(mean, expected.sum() / len(logits))


def test_sigmoid_form_weights_rows_by_their_label():
    logits, target = some()
    weight = torch.tensor([.5, 1., 2., 4.], dtype=D)
    plain = ops.sigmoid_focal_loss(logits, target, 2., .25, None, 'none')
    expected = plain * torch.cat([weight, weight.new_ones(1)])[target][:, None]  # background has weight 1
    torch.testing.assert_close(ops.sigmoid_focal_loss(logits, target, 2., .25, weight, 'none'), expected)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('weight', [None, torch.tensor([.5, 1., 2., 4.], dtype=D)])
def test_sigmoid_form_gradient(reduction, weight):
    logits, target = some()
    assert gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, 1.5, 0.25, weight, reduction), [logits.requires_grad_()])


@pytest.mark.parametrize('gamma', [0., 0.5, 2.])
def test_softmax_form(gamma):
    logits, target = some()
    target = target - 1  # -1 is ignored
    log_p = logits.log_softmax(1)
    chosen = log_p.gather(1, target.clamp_min(0)[:, None])[:, 0]
    expected = torch.where(target >= 0, -0.3 * (1 - chosen.exp()) ** gamma * chosen, 0.)
    torch.testing.assert_close(ops.softmax_focal_loss(logits, target, gamma, 0.3, None, 'none'), expected)
    module = ops.SoftmaxFocalLoss(gamma, 0.3)
    torch.testing.assert_close(module(logits, target), expected.sum() / len(logits))
    assert gradcheck(lambda x: ops.softmax_focal_loss(x, target, gamma, 0.3, None, 'sum'), [logits.requires_grad_()])


def test_softmax_form_without_focus_is_weighted_cross_entropy():
    logits, target = some()
    target = target.clamp_max(3)
    weight = torch.tensor([.5, 1., 2., 4.], dtype=D)
    torch.testing.assert_close(ops.softmax_focal_loss(logits, target, 0., 1., weight, 'none'),
                               F.cross_entropy(logits, target, weight, reduction='none'))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(dtype):
    logits = torch.tensor([[200., -200.], [-200., 200.], [0., 50.]], dtype=dtype, requires_grad=True)
    for loss in (ops.sigmoid_focal_loss, ops.softmax_focal_loss):
        for target in ([0, 1, 0], [1, 0, 1]):
            value = loss(logits, torch.tensor(target), 2., .25, None, 'sum')
            grad, = torch.autograd.grad(value, logits)
            assert value.dtype == dtype and value.isfinite().all() and grad.isfinite().all()
