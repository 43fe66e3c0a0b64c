import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.distillers import OFD, Batch, Progress, Shapes, margin_from_bn, ofd_loss
from zoo.taps import TapReader


class Net(nn.Module):
    """Two stages that end in a BatchNorm and a ReLU."""
    margin_norms = ('norm1', 'norm2')

    def __init__(self, widths):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, widths[0], 3, padding=1), nn.BatchNorm2d(widths[0])
        self.conv2, self.norm2 = nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1), nn.BatchNorm2d(widths[1])
        for norm in (self.norm1, self.norm2):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x):
        return self.forward_taps(x)['logits']

    def forward_taps(self, x, names=None):
        first = self.norm1(self.conv1(x))
        second = self.norm2(self.conv2(first.relu()))
        return {'preact_feats': [x, first, second], 'logits': second.relu().mean((2, 3))}


def built(**options):
    torch.manual_seed(0)
    teacher, student = Net((6, 8)), Net((3, 4))
    distiller = OFD(**options)
    distiller.adapt_teacher(teacher)
    teacher.requires_grad_(False).eval()
    readers = TapReader(student), TapReader(teacher)
    names, example = ('preact_stages',), torch.zeros(2, 3, 8, 8)
    distiller.build(Shapes(readers[0].shapes(names, example), readers[1].shapes(names, example),
                           student_net=readers[0], teacher_net=readers[1]))
    return distiller.train(), *readers


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.05, 4), mean=st.floats(-4, 4))
def test_margin_is_the_mean_of_the_negative_half(scale, mean):
    x = torch.linspace(mean - 12 * scale, min(0.0, mean + 12 * scale), 20_001, dtype=torch.float64)
    density = torch.exp(-((x - mean) / scale)**2 / 2)
    margin = margin_from_bn(torch.tensor([scale, -scale]), torch.tensor([mean, mean])).double()
    assert margin[0] == margin[1]  # the sign of the weight says nothing
    if mean / scale > 3.2:  # a share below 0.001
        torch.testing.assert_close(margin[0], torch.tensor(-3 * scale, dtype=torch.float64), rtol=1e-5, atol=1e-6)
    elif mean / scale < 3.05:
        expected = torch.trapezoid(x * density, x) / torch.trapezoid(density, x)
        torch.testing.assert_close(margin[0], expected, rtol=1e-4, atol=1e-5)


def test_margin_of_a_dead_channel_is_the_limit():
    margin = margin_from_bn(torch.zeros(3), torch.tensor([-2.0, 0.0, 2.0]))
    assert margin.tolist() == [-2, 0, 0] and margin.dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_loss_equals_its_cases_element_by_element(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 2, 3, size, size, generator=generator, dtype=torch.float64) for size in (2, 3, 1)]
    margins = [-torch.rand(3, generator=generator, dtype=torch.float64) for _ in maps]
    expected = 0.0
    for stage, ((student, teacher), margin) in enumerate(zip(maps, margins)):
        for n, c, h, w in torch.cartesian_prod(*map(torch.arange, student.shape)).tolist():
            s, t = student[n, c, h, w], max(teacher[n, c, h, w], margin[c])
            if t > 0 or s > t:
                expected += (s - t)**2 / 2**(2 - stage) / 2
    torch.testing.assert_close(ofd_loss([m[0] for m in maps], [m[1] for m in maps], margins), expected)


def test_loss_is_zero_at_the_target_and_below_negative_ones():
    teacher, margin = torch.randn(2, 3, 4, 4), torch.full((3,), -0.5)
    student = torch.maximum(teacher, margin[:, None, None]).requires_grad_()
    assert ofd_loss([student], [teacher], [margin]) == 0
    below = torch.where(teacher > 0, teacher, teacher.new_tensor(-9.0)).requires_grad_()
    loss = ofd_loss([below], [teacher], [margin])
    loss.backward()
    assert loss == 0 and below.grad.abs().sum() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_loss_is_finite_in_half_precision(dtype):
    student = torch.full((2, 4, 8, 8), 50.0, dtype=dtype, requires_grad=True)
    loss = ofd_loss([student], [-student], [torch.full((4,), -1.0, dtype=dtype)])
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and student.grad.isfinite().all()


def test_batch_statistics_in_training_only():
    images = torch.randn(8, 3, 8, 8)
    distiller, _, teacher = built()
    before = {k: v.clone() for k, v in teacher.module.state_dict().items() if 'running' in k}
    with torch.no_grad():
        trained = teacher(images, ['preact_stages'])['preact_stages'][0]
        norm, before_norm = teacher.module.norm1, teacher.module.conv1(images)
        expected = torch.nn.functional.batch_norm(before_norm, None, None, norm.weight, norm.bias, True)
        torch.testing.assert_close(trained, expected)
        distiller.eval()
        torch.testing.assert_close(teacher(images, ['preact_stages'])['preact_stages'][0],
                                   norm(before_norm))
        assert not norm.training
    for key, value in before.items():
        assert torch.equal(teacher.module.state_dict()[key], value)
    distiller, _, teacher = built(teacher_batch_stats=False)
    assert not teacher.module.norm1.training


def test_steps_lower_the_loss_and_state_returns():
    distiller, student, teacher = built()
    images = torch.randn(8, 3, 8, 8)
    batch = Batch(images)
    with torch.no_grad():
        target = teacher(images, ['preact_stages'])
    parameters = [*student.module.parameters(), *distiller.param_groups()[0]['params']]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    losses = []
    for _ in range(6):
        loss = distiller(student(images, ['preact_stages']), target, batch, Progress())['ofd']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    other = built()[0]
    other.margin0.zero_()
    other.load_state_dict(distiller.state_dict())
    assert torch.equal(other.margin0, margin_from_bn(teacher.module.norm1.weight, teacher.module.norm1.bias))


def test_build_pairs_the_last_stages_and_pools_to_the_smaller_map():
    distiller, _, teacher = built()
    shapes = Shapes({'preact_stages': [torch.Size((2, 5, 16, 16)), torch.Size((2, 5, 2, 8)), torch.Size((2, 7, 1, 1))]},
                    {'preact_stages': [torch.Size((2, 6, 8, 8)), torch.Size((2, 8, 4, 4))]}, teacher_net=teacher)
    distiller = OFD()
    distiller.build(shapes)
    student = {'preact_stages': [torch.randn(s, requires_grad=True) for s in shapes.student['preact_stages']]}
    target = {'preact_stages': [torch.randn(s) for s in shapes.teacher['preact_stages']]}
    loss = distiller(student, target, Batch(torch.zeros(2, 3, 16, 16)), Progress())['ofd']
    loss.backward()
    assert loss > 0 and student['preact_stages'][0].grad is None and len(distiller.connectors) == 2
    student = {'preact_stages': [x[:1] for x in student['preact_stages']]}
    target = {'preact_stages': [x[:1] for x in target['preact_stages']]}
    assert distiller(student, target, Batch(torch.zeros(1, 3, 16, 16)), Progress())['ofd'] == 0


def test_bad_input():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match='one margin'):
        ofd_loss([x], [x], [])
    with pytest.raises(ValueError, match='one shape'):
        ofd_loss([x], [x[:, :1]], [torch.zeros(2)])
    _, student, teacher = built()
    shapes = Shapes({'preact_stages': [torch.Size((2, 3, 8, 8))]}, {'preact_stages': [torch.Size((2, 8, 4, 4))]},
                    teacher_net=teacher)
    with pytest.raises(ValueError, match='does not belong'):
        OFD(margin_norms=['norm1']).build(shapes)
    teacher.module.margin_norms = None
    with pytest.raises(ValueError, match='set margin_norms'):
        OFD().build(shapes)
    with pytest.raises(ValueError, match="student's tap"):
        OFD(student_feats='logits').build(Shapes({'logits': torch.Size((2, 10))}, shapes.teacher, teacher_net=teacher))
