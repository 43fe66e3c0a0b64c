"""VID: the Gaussian likelihood, its variance, shapes, state."""
import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import VID, Batch, Progress, Shapes, VIDLoss

BATCH = Batch(torch.zeros(2, 3, 8, 8))


def test_is_the_gaussian_negative_log_likelihood():
    torch.manual_seed(0)
    loss = VIDLoss(3, 4, 5, init_pred_var=2.0, eps=1e-3).double()
    with torch.no_grad():
        loss.log_scale.copy_(torch.randn(5))
    student, teacher = torch.randn(2, 3, 4, 6).double(), torch.randn(2, 5, 4, 6).double()
    variance = (torch.exp(loss.log_scale) + 1).log() + 1e-3
    # torch's leaves out half of log(2 pi), as the method does
    variance = variance.view(1, 5, 1, 1).expand_as(teacher)
    expected = F.gaussian_nll_loss(loss.regressor(student), teacher, variance, eps=0)
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize('variance', [1e-3, 0.5, 5.0, 1000.0])
def test_initial_variance(variance):
    loss = VIDLoss(3, 4, 5, init_pred_var=variance, eps=1e-5)
    torch.testing.assert_close(F.softplus(loss.log_scale) + 1e-5, torch.full((5,), variance), rtol=1e-4, atol=1e-7)


def test_a_large_scale_does_not_overflow():
    loss = VIDLoss(3, 4, 5)
    with torch.no_grad():
        loss.log_scale.fill_(500.0)
    value = loss(torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4))
    value.backward()
    assert value.isfinite()
    assert loss.log_scale.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    loss = VIDLoss(3, 4, 5).to(dtype)
    student = torch.full((2, 3, 4, 4), 50.0, dtype=dtype, requires_grad=True)
    value = loss(student, torch.full((2, 5, 4, 4), -300.0, dtype=dtype))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_class_trains_all_of_its_parts():
    torch.manual_seed(0)
    student = [torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)]
    teacher = [torch.randn(2, 5, 4, 4), torch.randn(2, 9, 8, 8)]
    distiller = VID(init_pred_var=1.0)
    distiller.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [t.shape for t in teacher]}))
    parameters, losses = list(distiller.parameters()), []
    assert {name for name, _ in distiller.losses[1].named_parameters()} == {
        'log_scale', 'regressor.0.weight', 'regressor.2.weight', 'regressor.4.weight'}
    assert distiller.losses[1].regressor[2].weight.shape == (9, 9, 1, 1)
    for _ in range(60):
        loss = distiller({'stages': student}, {'stages': teacher}, BATCH, Progress())['vid']
        grads = torch.autograd.grad(loss, parameters)
        assert all(grad.abs().sum() > 0 for grad in grads)
        with torch.no_grad():
            for parameter, grad in zip(parameters, grads):
                parameter -= grad
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1

    copy = VID()
    copy.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [t.shape for t in teacher]}))
    copy.load_state_dict(distiller.state_dict())
    results = [d({'stages': student}, {'stages': teacher}, BATCH, Progress())['vid'] for d in (copy, distiller)]
    assert torch.equal(*results)


def test_mid_channels():
    distiller = VID(mid_channels=2)
    distiller.build(Shapes({'stages': [torch.Size((1, 3, 4, 4))]}, {'stages': [torch.Size((1, 5, 4, 4))]}))
    assert [m.weight.shape[0] for m in distiller.losses[0].regressor[::2]] == [2, 2, 5]


def test_bad_input():
    for make in (lambda: VID(init_pred_var=1e-6), lambda: VIDLoss(3, 4, 5, init_pred_var=0.0)):
        with pytest.raises(ValueError, match='init_pred_var > eps'):
            make()
    with pytest.raises(ValueError, match='got 1 and 2'):
        VID().build(Shapes({'stages': [torch.Size((1, 3, 4, 4))]}, {'stages': [torch.Size((1, 3, 4, 4))] * 2}))
    shapes = {'pooled': torch.Size((1, 3))}
    with pytest.raises(ValueError, match='feature maps'):
        VID(student_layers='pooled', teacher_layers='pooled').build(Shapes(shapes, shapes))
