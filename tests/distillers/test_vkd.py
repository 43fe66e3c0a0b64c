"""V_kD: the projector stays orthogonal through the zoo's optimiser, and each normalisation does what it says."""
import pytest
import torch

from zoo.distillers import VKD, Batch, OrthogonalProjector, Progress, Shapes, vkd_det_loss, vkd_loss
from zoo.engine.optim import OptimWrapperConstructor
from zoo.tasks import Distillation

SMALL = {'img_size': 16, 'patch_size': 8, 'depth': 1, 'embed_dim': 12, 'num_heads': 2}
DEIT = {'type': 'TimmModel', 'model_name': 'deit_tiny_distilled_patch16_224', **SMALL}
DATA = {'images': torch.randn(4, 3, 16, 16), 'labels': torch.tensor([0, 1, 2, 4])}


def model(width: int = 20, **options) -> Distillation:
    torch.manual_seed(0)
    return Distillation(
        student=dict(DEIT), distillers=[{'type': 'VKD', **options}],
        teacher={'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 6, width), 'untrained': True},
        task={'type': 'Classification', 'num_classes': 5, 'input_shape': (3, 16, 16), 'loss_weight': 0.0})


def weight(projector: OrthogonalProjector) -> torch.Tensor:
    return projector.projector.weight.detach()


def distance_to_orthonormal(projector: OrthogonalProjector) -> float:
    matrix = weight(projector)
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return (matrix.T @ matrix - torch.eye(matrix.shape[1])).abs().max().item()


# ---- weight decay

OPTIMIZERS = [{'type': 'AdamW', 'lr': 0.01, 'weight_decay': 0.05}, {'type': 'AdamW', 'lr': 0.01},
              {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9, 'weight_decay': 5e-4}]


def steps(net: Distillation, optimizer: dict, count: int = 3):
    wrapper = OptimWrapperConstructor(dict(type='OptimWrapper', optimizer=optimizer))(net)
    for _ in range(count):
        wrapper.update_params(sum(net.train()(DATA, mode='loss').values()))


@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=['AdamW', 'AdamW by default', 'SGD'])
@pytest.mark.parametrize('width', [20, 8, 12], ids=['wider', 'narrower', 'square'])
def test_orthonormal_after_steps_of_the_zoos_optimiser(width, optimizer):
    net = model(width, label_head='head', teacher_head='head_dist')
    projector = net.distillers['vkd'].projector
    before = weight(projector)
    steps(net, dict(optimizer))
    assert distance_to_orthonormal(projector) < 1e-5
    assert (weight(projector) - before).abs().max() > 1e-4, 'the projector does not learn'


def test_why_there_is_no_weight_decay(monkeypatch):
    """The same steps with decay make a rectangular projector 0: this is what the groups prevent."""
    monkeypatch.setattr(VKD, 'param_groups', lambda self: [{'params': list(self.parameters())}])
    net = model(20, label_head='head', teacher_head='head_dist')
    steps(net, dict(OPTIMIZERS[0]), count=1)
    assert weight(net.distillers['vkd'].projector).abs().max() == 0


def test_the_group_holds_all_parameters_without_decay():
    net = model(affine=True, label_head='head', teacher_head='head_dist')
    distiller = net.distillers['vkd']
    wrapper = OptimWrapperConstructor(dict(type='OptimWrapper', optimizer=dict(OPTIMIZERS[0])))(net)
    own = {id(p) for p in distiller.parameters()}
    assert len(own) == 3
    decays = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups for p in group['params']}
    assert {decays[key] for key in own} == {0.0}
    assert {decay for key, decay in decays.items() if key not in own} == {0.05}


# ---- the projector

@pytest.mark.parametrize('dims', [(5, 9), (9, 5), (6, 6)])
def test_projector_is_orthonormal_and_keeps_lengths(dims):
    projector = OrthogonalProjector(*dims)
    assert weight(projector).shape == dims[::-1]
    assert distance_to_orthonormal(projector) < 1e-6
    if dims[1] >= dims[0]:
        x = torch.randn(4, dims[0])
        torch.testing.assert_close(torch.cdist(projector(x), projector(x)), torch.cdist(x, x), rtol=1e-4, atol=1e-3)


def test_projector_stays_precise_in_half_precision():
    projector, x = OrthogonalProjector(5, 9, affine=True), torch.randn(4, 5)
    assert projector(x.half()).dtype == torch.float32
    expected = x @ weight(projector).T
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(projector(x), expected)


def test_projector_state_restores():
    first, second = OrthogonalProjector(4, 7), OrthogonalProjector(4, 7)
    assert not torch.equal(weight(first), weight(second))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(weight(second), weight(first), rtol=0, atol=0)


# ---- the loss

def test_layer_norm_is_of_the_teacher_alone():
    student, teacher = torch.randn(2, 6, 8, dtype=torch.float64)
    loss = vkd_loss(student, teacher)
    torch.testing.assert_close(vkd_loss(student, 3 * teacher + 2, eps=0.0), vkd_loss(student, teacher, eps=0.0))
    assert vkd_loss(3 * student, teacher) != loss


def test_standardize_ignores_scale_and_shift_of_both():
    student, teacher = torch.randn(2, 6, 8, dtype=torch.float64)
    loss = vkd_loss(student, teacher, normalize='standardize')
    torch.testing.assert_close(vkd_loss(2 * student - 1, 3 * teacher + 2, normalize='standardize'), loss)
    assert vkd_loss(student, 5 * student + 1, normalize='standardize') < 1e-12
    lists = ([student, student[:4]], [teacher, teacher[:4]])
    torch.testing.assert_close(vkd_det_loss(*lists), loss + vkd_loss(student[:4], teacher[:4], normalize='standardize'))


def test_whitened_target_is_decorrelated():
    """The student that is the ZCA of the teacher has no loss, and its covariance is the identity."""
    teacher = torch.randn(40, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 3
    centred = teacher - teacher.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(teacher.T))
    white = centred @ vectors @ torch.diag(values**-0.5) @ vectors.T
    torch.testing.assert_close(torch.cov(white.T), torch.eye(4, dtype=torch.float64))
    assert vkd_loss(white, teacher, normalize='whiten', eps=0.0) < 1e-18


@pytest.mark.parametrize('normalize', ['layer_norm', 'standardize', 'whiten'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype, normalize):
    student, teacher = (50 * torch.randn(2, 12, 4).clamp(-1, 1)).to(dtype)
    student.requires_grad_()
    loss = vkd_loss(student, teacher, normalize=normalize)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


# ---- the class

def built(student, teacher, **options) -> VKD:
    distiller = VKD(kd_weight=0.0, **options)
    distiller.build(Shapes({'tokens': torch.Size(student)}, {'final_map': torch.Size(teacher)}, num_classes=5))
    return distiller


def test_tokens_in_front_are_left_out():
    distiller = model(kd_weight=0.0).distillers['vkd']
    assert (distiller.student_prefix, distiller.teacher_prefix) == (2, 0)
    tokens, final_map = torch.randn(3, 6, 12), torch.randn(3, 20, 4, 4)
    changed = torch.cat([100 + tokens[:, :2], tokens[:, 2:]], dim=1)
    first, second = (distiller({'tokens': x}, {'final_map': final_map}, Batch(x), Progress())['feature']
                     for x in (tokens, changed))
    assert first == second
    expected = vkd_loss(distiller.projector(tokens[:, 2:].mean(1)), final_map.mean((2, 3)))
    torch.testing.assert_close(first, expected)


def test_heads_are_taught_apart():
    net = model(label_head='head', teacher_head='head_dist').train()
    terms = net(DATA, mode='loss')
    assert set(terms) == {'vkd.feature', 'vkd.kd', 'vkd.label'}
    heads = [net.student.head.weight, net.student.head_dist.weight]
    assert torch.autograd.grad(terms['vkd.label'], heads, allow_unused=True, retain_graph=True)[1] is None
    assert torch.autograd.grad(terms['vkd.kd'], heads, allow_unused=True)[0] is None


@pytest.mark.parametrize('normalize', ['standardize', 'whiten'])
def test_a_batch_of_one_where_columns_are_normalised(normalize):
    distiller = built((2, 5, 4), (2, 6, 3, 3), normalize=normalize)
    tokens = torch.randn(1, 5, 4, requires_grad=True)
    term = distiller({'tokens': tokens}, {'final_map': torch.randn(1, 6, 3, 3)}, Batch(tokens), Progress())['feature']
    assert term == 0
    assert term.requires_grad


def test_bad_input():
    with pytest.raises(ValueError, match='layer_norm, standardize, whiten'):
        VKD(normalize='batch')
    with pytest.raises(ValueError, match='not .batch.'):
        vkd_loss(torch.zeros(2, 3), torch.zeros(2, 3), normalize='batch')
    with pytest.raises(ValueError, match='one shape'):
        vkd_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match='two or more'):
        vkd_loss(torch.zeros(1, 3), torch.zeros(1, 3), normalize='whiten')
    with pytest.raises(ValueError, match='got 1 and 2'):
        vkd_det_loss([torch.zeros(2, 3)], [torch.zeros(2, 3)] * 2)
    with pytest.raises(ValueError, match="'tokens' is none"):
        VKD(kd_weight=0.0).build(Shapes({'tokens': [torch.Size((2, 3, 4))]}, {'final_map': torch.Size((2, 3, 4, 4))}))
