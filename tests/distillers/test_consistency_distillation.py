"""Consistency distillation: losses, the target network, and what holds at its optimum."""
import pytest
import torch

from zoo.diffusion import Denoiser, consistency_schedule, karras_sigmas
from zoo.distillers import Batch, ConsistencyDistillation, Progress, consistency_distillation_loss
from zoo.models import DiffusionUNet


def built(net, **options):
    method = ConsistencyDistillation(**options)

    class Shapes:
        student_net = type('Reader', (), dict(module=net))
    method.build(Shapes)
    return method


def batch_of(count=4, side=8):
    images = torch.rand(count, 1, side, side) * 2 - 1
    return Batch(images, extra=dict(noise=torch.randn_like(images), condition=None, null_condition=None))


@pytest.mark.parametrize('norm', ['l2', 'l1'])
@pytest.mark.parametrize('weighting', ['uniform', 'snr', 'snr+1', 'karras', 'truncated-snr'])
def test_loss_written_out(norm, weighting):
    a, b = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    weights = {'uniform': lambda s: 1.0, 'snr': lambda s: s**-2, 'snr+1': lambda s: s**-2 + 1,
               'karras': lambda s: s**-2 + 4.0, 'truncated-snr': lambda s: max(s**-2, 1.0)}
    each = [weights[weighting](s.item()) * ((x - y).abs() if norm == 'l1' else (x - y) ** 2).mean()
            for s, x, y in zip(sigma, a, b)]
    torch.testing.assert_close(consistency_distillation_loss(a, b, sigma, norm=norm, weighting=weighting), sum(each) / 3)


def test_perceptual_norm_resizes():
    seen = []

    def perceptual(a, b):
        seen.append((a.shape, a.min().item(), a.max().item()))
        return (a - b).abs().flatten(1).mean(1)
    a, b = torch.rand(2, 2, 1, 8, 8) * 2 - 1
    loss = consistency_distillation_loss(a, b, torch.ones(2), norm='lpips', perceptual=perceptual)
    assert loss > 0 and seen[0][0] == (2, 1, 224, 224) and seen[0][1] >= 0 and seen[0][2] <= 1
    with pytest.raises(ValueError, match='needs perceptual'):
        consistency_distillation_loss(a, b, torch.ones(2), norm='lpips')


def test_perfect_student_of_one_point():
    """All data are one image: its denoiser is consistent, and the loss is nothing but the boundary condition's."""
    class Point(torch.nn.Module):
        prediction_type, schedule = 'x0', 'cosine'

        def forward(self, x, time, condition=None):
            return torch.full_like(x, 0.5)
    method = ConsistencyDistillation(init_from_teacher=False, sigma_data=1.0)
    method.target, method.seen = Point(), torch.zeros(1)
    method.follow = lambda *args: None
    images = torch.full((64, 1, 4, 4), 0.5)
    batch = Batch(images, extra=dict(noise=torch.randn_like(images), condition=None, null_condition=None))
    taps = dict(denoiser=Denoiser(Point()))
    assert method(taps, taps, batch, Progress())['consistency_distillation'].item() < 1e-4


def test_target_follows_once_a_step():
    torch.manual_seed(0)
    net = DiffusionUNet(channels=8, groups=4)
    method, taps, batch = built(net, target_ema=0.9), dict(denoiser=Denoiser(net)), batch_of()
    start = net.out.weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    method(taps, taps, batch, Progress())['consistency_distillation'].backward()
    method(taps, taps, batch, Progress())  # a second batch of the same accumulation
    torch.testing.assert_close(method.target.out.weight, start)
    optimizer.step()
    for _ in range(2):
        method(taps, taps, batch, Progress(iteration=1))
    torch.testing.assert_close(method.target.out.weight, 0.9 * start + 0.1 * net.out.weight.detach())
    assert not any(p.requires_grad for p in method.parameters())


def test_student_and_target_share_dropout():
    """With equal weights and equal points there is no loss, dropout or not."""
    torch.manual_seed(0)
    net = DiffusionUNet(channels=8, groups=4, dropout=0.5)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    method = built(net, num_scales=2, sigma_min=1.0, sigma_max=1.0001, sigma_data=1.0, init_from_teacher=False)
    taps = dict(denoiser=Denoiser(net.train()))
    assert method(taps, taps, batch_of(), Progress())['consistency_distillation'].item() < 1e-6


def test_guided_teacher_is_called_more():
    torch.manual_seed(0)
    net = DiffusionUNet(channels=8, groups=4, num_classes=3)
    calls = []
    teacher = DiffusionUNet(channels=8, groups=4, num_classes=3)
    teacher.register_forward_hook(lambda *args: calls.append(1))
    batch = batch_of()
    batch.extra['condition'] = torch.tensor([0, 1, 2, 0])
    for options, count in (({}, 2), (dict(solver='euler'), 1), (dict(guidance_scale=2.0), 4)):
        calls.clear()
        built(net, **options)(dict(denoiser=Denoiser(net)), dict(denoiser=Denoiser(teacher)), batch, Progress())
        assert len(calls) == count, options


def test_progressive_schedule_grows():
    found = consistency_schedule(range(0, 100, 10), scale_mode='progressive', target_ema_mode='adaptive', start_ema=0.9,
                                 start_scales=2, end_scales=50, total_steps=100, distill_steps_per_iter=1)
    assert (found['num_scales'][1:] >= found['num_scales'][:-1]).all() and found['num_scales'][0] == 2
    assert (found['ema'] < 1).all() and found['ema'][-1] > found['ema'][0]
    halved = consistency_schedule([0, 10, 20, 30, 50, 70], scale_mode='progdist', start_ema=0.5, start_scales=8, end_scales=1,
                                  total_steps=100, distill_steps_per_iter=10)
    assert halved['num_scales'].tolist() == [8, 4, 2, 2, 1, 1] and (halved['ema'] == 1).all()


def test_bad_options():
    for options in (dict(norm='l3'), dict(weighting='snr2'), dict(norm='lpips'), dict(solver='rk4'), dict(num_scales=1),
                    dict(target_ema_mode='adaptive'), dict(scale_mode='progdist'), dict(sigma_min=90.0)):
        with pytest.raises(ValueError, match='.{20}'):
            ConsistencyDistillation(**options)
    with pytest.raises(ValueError, match='num_scales'):
        karras_sigmas(torch.tensor([0]), num_scales=1)
