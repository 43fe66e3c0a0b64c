import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import Batch, Progress, SemCKD, SemCKDDistiller, Shapes, semckd_loss
from zoo.registry import DISTILLERS


def feats(batch=8, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, s, s, generator=generator, requires_grad=grad) for c, s in ((3, 8), (4, 4))]


def built():
    torch.manual_seed(0)
    distiller = DISTILLERS.build(dict(type='SemCKD', batch_size=8))
    shapes = [[x.shape for x in feats(2)],
              [torch.Size((2, 4, 6, 6)), torch.Size((2, 5, 4, 4)), torch.Size((2, 6, 2, 2))]]
    distiller.build(Shapes({'stages': shapes[0]}, {'stages': shapes[1]}))
    return distiller, [torch.randn(8, *shape[1:]) for shape in shapes[1]]


def test_loss_by_loops():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 6, 5, 4, 3, 3, generator=generator, dtype=torch.float64)
    attention = torch.rand(5, 2, 3, generator=generator, dtype=torch.float64)
    expected = sum(attention[n, i, j] * (values[0, 3 * i + j, n] - values[1, 3 * i + j, n]).square().mean()
                   for n in range(5) for i in range(2) for j in range(3)) / (5 * 2)
    torch.testing.assert_close(semckd_loss(list(values[0]), list(values[1]), attention), expected)


def test_module_by_loops_for_one_sample():
    distiller, teacher = built()
    module, student = distiller.calibration.eval(), feats()
    result = module(student, teacher)
    torch.testing.assert_close(result['attention'].sum(2), torch.ones(8, 2))
    n, i, j = 3, 0, 2

    def embed(layer, feat):
        flat = feat.flatten(1)
        return F.normalize(layer.linear2(layer.linear1(flat @ flat.t()).relu()), dim=1)[n]

    scores = torch.stack([embed(module.query_weight0, student[i]) @ embed(getattr(module, f'key_weight{k}'), teacher[k])
                          for k in range(3)])
    torch.testing.assert_close(result['attention'][n, i, j], scores.softmax(0)[j])


def test_attention_gets_gradients():
    distiller, teacher = built()
    result = distiller.calibration(feats(grad=True), teacher)
    result['loss'].backward()
    assert distiller.calibration.query_weight0.linear1.weight.grad.abs().sum() > 0
    assert distiller.calibration.key_weight2.linear1.weight.grad.abs().sum() > 0


def test_steps_lower_the_loss_and_state_returns():
    distiller, teacher = built()
    assert isinstance(distiller, SemCKDDistiller)
    student = feats(grad=True)
    optimizer = torch.optim.SGD([*student, *distiller.param_groups()[0]['params']], lr=0.05, momentum=0.9)

    def term():
        return distiller({'stages': student}, {'stages': teacher}, Batch(torch.zeros(8, 3, 8, 8)), Progress())['semckd']

    first = term().item()
    for _ in range(6):
        optimizer.zero_grad()
        term().backward()
        optimizer.step()
    assert term().item() < 0.9 * first
    other = built()[0]
    other.load_state_dict(distiller.state_dict())
    inputs = {'stages': feats()}, {'stages': teacher}, Batch(torch.zeros(8, 3, 8, 8)), Progress()
    assert torch.equal(other.eval()(*inputs)['semckd'], distiller.eval()(*inputs)['semckd'])


def test_incomplete_batch_has_no_term():
    distiller, teacher = built()
    student = feats(3, grad=True)
    term = distiller({'stages': student}, {'stages': [t[:3] for t in teacher]}, Batch(torch.zeros(3, 3, 8, 8)),
                     Progress())
    term['semckd'].backward()
    assert term['semckd'] == 0 and student[0].grad.abs().sum() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_loss_is_finite_in_half_precision(dtype):
    x = torch.full((2, 3, 4, 4), 300.0, dtype=dtype)
    assert semckd_loss([x, x], [-x, x], torch.full((2, 1, 2), 0.5, dtype=dtype)).isfinite()


def test_bad_input():
    with pytest.raises(ValueError, match='lower factor'):
        SemCKD(3, [3], [3])
    with pytest.raises(ValueError, match='pairs'):
        semckd_loss([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 3, 4, 4)], torch.ones(2, 1, 2))
    distiller, teacher = built()
    with pytest.raises(ValueError, match='batches of 8 and got 16'):
        distiller({'stages': feats(16)}, {'stages': teacher}, Batch(torch.zeros(16, 3, 8, 8)), Progress())
    with pytest.raises(ValueError, match="student's tap"):
        SemCKDDistiller(8, student_feats='pooled').build(Shapes({'pooled': torch.Size((2, 3))}, {'stages': []}))
