import pytest
import torch
import torch.distributed as dist
from torch import nn

ops = pytest.importorskip('mmcv.ops')


@pytest.fixture
def alone(tmp_path):
    """A process group of one."""
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('stats_mode', ['default', 'N'])
def test_alone_it_is_batch_norm(alone, stats_mode):
    torch.manual_seed(0)
    layers = [ops.SyncBatchNorm(3, momentum=0.2, stats_mode=stats_mode), nn.BatchNorm2d(3, momentum=0.2)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(4, 3, 5, 6)
    results = []
    for layer in layers:
        image = x.clone().requires_grad_()
        out = layer(image)
        out.sin().sum().backward()
        results.append((out, image.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_two_halves_averaged_between_the_kernels_are_the_whole():
    from zoo.ops import sync_batch_norm as kernels
    torch.manual_seed(0)
    x, grad = torch.randn(2, 4, 3, 7), torch.randn(2, 4, 3, 7)  # two processes with 4 images each
    weight, bias = torch.rand(3), torch.rand(3)
    means, variances = torch.zeros(2, 3), torch.zeros(2, 3)
    for i in range(2):
        kernels.sync_bn_forward_mean(x[i], means[i])
    mean = means.mean(0)
    for i in range(2):
        kernels.sync_bn_forward_var(x[i], mean, variances[i])
    norm, std, out = torch.zeros_like(x), torch.zeros(3), torch.zeros_like(x)
    running = torch.zeros(3), torch.ones(3)
    for i in range(2):
        kept = [t.clone() for t in running]
        kernels.sync_bn_forward_output(x[i], mean, variances.mean(0), weight, bias, *kept, norm[i], std, out[i], eps=1e-5,
                                       momentum=torch.tensor([0.1]), group_size=2)
    whole = x.flatten(0, 1).requires_grad_()
    layer = nn.BatchNorm1d(3)
    with torch.no_grad():
        layer.weight.copy_(weight), layer.bias.copy_(bias)
    expected = layer(whole)
    torch.testing.assert_close(out.flatten(0, 1), expected)
    torch.testing.assert_close(kept[0], layer.running_mean)
    torch.testing.assert_close(kept[1], layer.running_var)

    expected.backward(grad.flatten(0, 1))
    by_weight, by_bias, by_input = torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros_like(x)
    for i in range(2):
        kernels.sync_bn_backward_param(grad[i], norm[i], by_weight[i], by_bias[i])
    torch.testing.assert_close(by_weight.sum(0), layer.weight.grad)
    for i in range(2):
        kernels.sync_bn_backward_data(grad[i], weight, by_weight.mean(0), by_bias.mean(0), norm[i], std, by_input[i])
    torch.testing.assert_close(by_input.flatten(0, 1), whole.grad, atol=1e-5, rtol=1e-4)
