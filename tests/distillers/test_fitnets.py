"""FitNets: the regressor's choice of convolution, and the two-stage form."""
import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import Batch, ConvRegressor, FitNets, Progress, Shapes, hint_loss
from zoo.engine import OptimWrapper
from zoo.registry import DISTILLERS
from zoo.tasks import Distillation

BATCH = Batch(torch.zeros(4, 3, 8, 8))


def built(student_shape=(1, 4, 4, 4), teacher_shape=(1, 6, 4, 4), **options) -> FitNets:
    distiller = DISTILLERS.build(dict(type='FitNets', **options))
    distiller.build(Shapes({'stages.1': torch.Size(student_shape), 'logits': torch.Size((1, 5))},
                           {'stages.1': torch.Size(teacher_shape), 'logits': torch.Size((1, 5))}, num_classes=5))
    return distiller


def taps(shape, count=4, grad=False):
    return {'stages.1': torch.rand(count, *shape[1:], requires_grad=grad),
            'logits': torch.randn(count, 5, requires_grad=grad)}


@pytest.mark.parametrize(('size', 'to_size', 'kernel', 'kind'), [
    ((8, 8), (4, 4), (3, 3), 'Conv2d'), ((8, 7), (4, 4), (3, 3), 'Conv2d'), ((4, 4), (8, 8), (4, 4), 'ConvTranspose2d'),
    ((5, 5), (5, 5), (1, 1), 'Conv2d'), ((7, 6), (5, 3), (3, 4), 'Conv2d')])
def test_regressor_fits_the_teacher(size, to_size, kernel, kind):
    regressor = ConvRegressor((9, 3, *size), (9, 5, *to_size))
    assert type(regressor.conv).__name__ == kind
    assert regressor.conv.kernel_size == kernel
    out = regressor(torch.randn(2, 3, *size))
    assert out.shape == (2, 5, *to_size)
    assert (out >= 0).all()
    assert (ConvRegressor((9, 3, *size), (9, 5, *to_size), use_relu=False)(torch.randn(2, 3, *size)) < 0).any()


@pytest.mark.parametrize(('size', 'to_size'), [((3, 3), (8, 8)), ((5, 3), (4, 4)), ((8, 8), (4, 5)), ((4, 4), (8, 7))])
def test_sizes_that_do_not_fit_are_refused_at_build(size, to_size):
    with pytest.raises(ValueError, match=f'{size[0]}x{size[1]}.*{to_size[0]}x{to_size[1]}'):
        built((1, 4, *size), (1, 6, *to_size))


def test_bad_input():
    with pytest.raises(ValueError, match='feature maps'):
        built((1, 4), (1, 6))
    with pytest.raises(ValueError, match='one shape'):
        hint_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(ValueError, match='temperature'):
        FitNets(temperature=0)


def test_joint_form_learns_and_reaches_the_regressor():
    torch.manual_seed(0)
    distiller = built((1, 4, 8, 8))
    assert distiller.needs.student == ('stages.1',)
    assert distiller.task_weight(Progress()) == 1
    student, teacher = taps((1, 4, 8, 8), grad=True), taps((1, 6, 4, 4))
    leaves, losses = [student['stages.1'], *distiller.parameters()], []
    for _ in range(20):
        terms = distiller(student, teacher, BATCH, Progress())
        assert list(terms) == ['hint']
        with torch.no_grad():
            for leaf, grad in zip(leaves, torch.autograd.grad(terms['hint'], leaves)):
                leaf -= 0.5 * grad
        losses.append(terms['hint'].item())
    assert losses[-1] < 0.7 * losses[0]


def test_two_stages():
    distiller = built(stage_one_epochs=2, hint_weight=10.0)
    student, teacher = taps((1, 4, 4, 4), grad=True), taps((1, 6, 4, 4))

    first = distiller(student, teacher, BATCH, Progress(epoch=2, epochs=5))
    assert list(first) == ['hint']
    assert distiller.task_weight(Progress(epoch=2, epochs=5)) == 0
    first['hint'].backward()
    assert student['logits'].grad is None
    with torch.no_grad():
        expected = 10 * F.mse_loss(distiller.regressor(student['stages.1']), teacher['stages.1'])
    assert torch.isclose(first['hint'], expected)
    student['stages.1'].grad = None

    second = distiller(student, teacher, BATCH, Progress(epoch=3, epochs=5))
    assert distiller.task_weight(Progress(epoch=3, epochs=5)) == 1
    assert second['hint'].item() == 0
    sum(second.values()).backward()
    assert student['stages.1'].grad is None
    assert all(p.grad is not None for p in distiller.regressor.parameters())  # DistributedDataParallel asks for it
    # cross-entropy at temperature 3 without its square, lambda 4 in the stage's first epoch
    target, own = (teacher['logits'] / 3).softmax(1), (student['logits'] / 3).softmax(1)
    assert torch.allclose(student['logits'].grad, 4 * (own - target) / 3 / 4, atol=1e-6)


def test_lambda_falls_linearly():
    distiller = built(stage_one_epochs=2)
    weights = [distiller.kd_weight(Progress(epoch=e, epochs=6)) for e in range(3, 7)]
    assert weights == pytest.approx([4.0, 3.0, 2.0, 1.0])
    assert distiller.kd_weight(Progress(epoch=3, epochs=3)) == 4.0


def test_one_image_with_one_pixel():
    distiller = built((1, 4, 1, 1), (1, 6, 1, 1))
    student = taps((1, 4, 1, 1), count=1, grad=True)
    loss = distiller(student, taps((1, 6, 1, 1), count=1), BATCH, Progress())['hint']
    loss.backward()
    assert loss.item() == 0


def test_state_round_trip():
    source, target = built(), built()
    taps_pair = taps((1, 4, 4, 4)), taps((1, 6, 4, 4))
    source(*taps_pair, BATCH, Progress())
    target.load_state_dict(source.state_dict())
    results = [d.eval()(*taps_pair, BATCH, Progress())['hint'] for d in (source, target)]
    assert torch.equal(*results)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    value = hint_loss(torch.full((2, 3, 4, 4), 200.0, dtype=dtype), torch.full((2, 3, 4, 4), -200.0, dtype=dtype))
    assert value.item() == 160000  # beyond float16's range


def test_first_stage_leaves_the_layers_above_the_hint_alone():
    task = {'type': 'Classification', 'num_classes': 5, 'input_shape': (3, 16, 16)}
    student = {'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 8, 8)}
    teacher = {'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 12, 8), 'untrained': True}
    model = Distillation(student, teacher, [{'type': 'FitNets', 'stage_one_epochs': 1}], task)
    parameters = list(model.parameters())
    wrapper = OptimWrapper(torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1))
    data = {'images': torch.randn(8, 3, 16, 16), 'labels': torch.arange(8) % 5}
    moved = {}
    for epoch in (1, 2):
        model.progress = Progress(epoch=epoch, epochs=2)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.train_step(data, wrapper)
        moved[epoch] = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    above = {name for name in before if any(part in name for part in ('layer3', 'stages.2', 'fc', 'classifier'))}
    assert above
    assert not moved[1] & above
    assert any(name.startswith('distillers') for name in moved[1])
    assert any(name.startswith('student') for name in moved[1])
    assert above <= moved[2]
