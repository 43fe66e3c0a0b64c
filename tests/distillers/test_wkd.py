"""WKD-L and WKD-F: the shared kernel against cut matrices, windows, the cost matrix, the decay."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.distillers import (
    WKDF,
    WKDL,
    Batch,
    Progress,
    Shapes,
    linear_cka_cost,
    sinkhorn_plan,
    wkd_feature_loss,
    wkd_logit_loss,
)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cost_of(k, seed=5):
    cost = rand(k, k, seed=seed, dtype=torch.float32).abs() / 2
    return (cost + cost.T).fill_diagonal_(0)


def cut(student, teacher, labels, cost_matrix, temperature, gamma):
    """The label's entry, row and column cut out, as the paper writes it."""
    others = ~F.one_hot(labels, student.shape[1]).bool()
    a, b = (F.softmax(z[others].reshape(len(z), -1) / temperature, dim=1).float() for z in (student, teacher))
    cost = torch.stack([cost_matrix[row][:, row] for row in others]).float().relu() + 1e-8
    target = -(teacher.softmax(1) * student.log_softmax(1))[~others].mean()
    return target + gamma * (sinkhorn_plan(a, b, cost) * cost).sum((1, 2)).mean()


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_label_without_mass_equals_label_cut_out(temperature):
    student, teacher = rand(6, 7).mul(3).requires_grad_(), rand(6, 7, seed=1) * 3
    labels = torch.tensor([0, 3, 6, 2, 2, 5])
    options = dict(temperature=temperature, gamma=20.0)
    loss, expected = wkd_logit_loss(student, teacher, labels, cost_of(7), **options), cut(
        student, teacher, labels, cost_of(7), **options)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    got, wanted = (torch.autograd.grad(value, student)[0] for value in (loss, expected))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    soft = F.one_hot(labels, 7) * 0.6 + 0.4 / 7
    assert wkd_logit_loss(student, teacher, soft, cost_of(7), **options) == loss


def test_an_asymmetric_cost_goes_from_student_to_teacher():
    cost = cost_of(5) + torch.triu(torch.ones(5, 5), 1)
    student, teacher, labels = rand(3, 5), rand(3, 5, seed=1), torch.tensor([4, 0, 2])
    options = dict(temperature=2.0, gamma=5.0)
    torch.testing.assert_close(wkd_logit_loss(student, teacher, labels, cost, **options),
                               cut(student, teacher, labels, cost, **options), rtol=1e-5, atol=1e-6)


def test_sinkhorn_plan_has_the_marginals():
    a, b, cost = rand(2, 5).softmax(1), rand(2, 5, seed=1).softmax(1), rand(2, 5, 5, seed=2).abs()
    plan = sinkhorn_plan(a, b, cost, reg=0.5, max_iter=200)
    torch.testing.assert_close(plan.sum(2), a, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(plan.sum(1), b, rtol=1e-6, atol=1e-6)
    assert sinkhorn_plan(a.half(), b.half(), cost.half()).dtype == torch.float32


def slow_cka_cost(features):
    features = np.asarray(features)
    features = features - features.mean(1, keepdims=True)
    k = len(features)
    cost = np.zeros((k, k))
    for i in range(k):
        for j in range(k):
            norms = [np.linalg.norm(features[c].T @ features[c]) for c in (i, j)]
            cost[i, j] = 1 - np.linalg.norm(features[j].T @ features[i])**2 / (norms[0] * norms[1])
    return cost


@pytest.mark.parametrize(('rows', 'width'), [(4, 9), (9, 4), (5, 5)])
def test_cka_cost_both_ways_of_counting(rows, width):
    features = rand(4, rows, width)
    cost = linear_cka_cost(features)
    np.testing.assert_allclose(cost, slow_cka_cost(features), atol=1e-12)
    torch.testing.assert_close(cost.diagonal(), torch.zeros(4, dtype=torch.float64))
    rotated = torch.stack([f @ torch.linalg.qr(rand(width, width, seed=i)).Q for i, f in enumerate(3 * features + 1)])
    torch.testing.assert_close(linear_cka_cost(rotated), cost)
    features[0] = 2.0
    assert linear_cka_cost(features)[0].eq(1).all()


@pytest.mark.parametrize(('size', 'grid'), [((8, 8), 1), ((7, 5), 2), ((6, 9), 4), ((5, 5), 3)])
def test_feature_loss_one_window_at_a_time(size, grid):
    student, teacher = rand(2, 3, *size), rand(2, 3, *size, seed=1) * 2 + 1
    total = 0.0
    for n in range(2):
        for i in range(grid):
            for j in range(grid):
                rows = slice(int(np.floor(i * size[0] / grid)), int(np.ceil((i + 1) * size[0] / grid)))
                columns = slice(int(np.floor(j * size[1] / grid)), int(np.ceil((j + 1) * size[1] / grid)))
                for c in range(3):
                    s, t = student[n, c, rows, columns].numpy(), teacher[n, c, rows, columns].numpy()
                    total += 3 * (s.mean() - t.mean())**2
                    total += (np.sqrt(s.var(ddof=1) + 1e-4) - np.sqrt(t.var(ddof=1) + 1e-4))**2
    loss = wkd_feature_loss(student, teacher, mean_cov_ratio=3.0, eps=1e-4, grid=grid)
    assert loss.item() == pytest.approx(total / (2 * grid**2))
    assert wkd_feature_loss(teacher, teacher, grid=grid) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    signs = torch.tensor([[1.0, -1, 1, -1, 1], [-1, -1, 1, 1, 1]])
    student = (50 * signs).to(dtype).requires_grad_()
    feat = torch.full((2, 3, 4, 4), 50.0, dtype=dtype, requires_grad=True)
    teacher, labels = (-50 * signs).to(dtype), torch.tensor([0, 4])
    loss = wkd_logit_loss(student, teacher, labels, cost_of(5), temperature=2.0, gamma=9.0)
    loss = loss + wkd_feature_loss(feat, -feat.detach())
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert feat.grad.isfinite().all()


class Set:
    """A training set of the classes 0, 1, 2 with 3, 4 and 2 images."""

    def __init__(self, labels=(0, 1, 1, 2, 0, 1, 2, 0, 1)):
        self.labels = torch.tensor(labels)
        self.num_samples = len(labels)
        self.maps = rand(len(labels), 6, 2, 2, dtype=torch.float32)
        self.keys = []

    def teacher_outputs(self, names, *, augment=False):
        assert not augment
        values = {'final_map': self.maps, 'logits': self.maps.mean((2, 3))[:, :3]}
        for part in torch.arange(self.num_samples).split(4):
            yield {name: values[name][part] for name in names}, Batch(torch.zeros(len(part)), labels=self.labels[part])

    def cached(self, key, compute):
        self.keys.append(key)
        return compute()


def logit_shapes(k=3, net=None):
    return Shapes({'logits': torch.Size([2, k])}, {'logits': torch.Size([2, k])}, num_classes=k, teacher_net=net)


def test_cost_matrix_from_the_first_images_of_each_class():
    data, distiller = Set(), WKDL(sharpen=2.0)
    distiller.build(logit_shapes())
    distiller.prepare(data)
    chosen = [data.maps[data.labels == c][:2].flatten(2).mT.reshape(8, 6) for c in range(3)]
    expected = 1 - torch.exp(-2 * torch.from_numpy(slow_cka_cost(torch.stack(chosen).double())).float())
    torch.testing.assert_close(distiller.cost_matrix, expected, rtol=1e-4, atol=1e-5)
    resumed = WKDL()
    resumed.build(logit_shapes())
    resumed.load_state_dict(distiller.state_dict())
    assert torch.equal(resumed.cost_matrix, distiller.cost_matrix)
    other = WKDL(cost_tap='logits')
    other.build(logit_shapes())
    other.prepare(data)
    assert other.cost_matrix.any()
    assert not torch.allclose(other.cost_matrix, distiller.cost_matrix)


def test_cost_matrix_from_the_classifier():
    net = nn.Module()
    net.classifier = nn.Linear(4, 3)
    distiller = WKDL(cost_tap='classifier')
    distiller.build(logit_shapes(net=net))
    distiller.prepare(Set())
    cosine = F.cosine_similarity(net.classifier.weight[:, None], net.classifier.weight[None], dim=2)
    torch.testing.assert_close(distiller.cost_matrix, 1 - torch.exp(cosine.detach() - 1))
    assert not list(distiller.parameters())


def test_logit_class_decays_the_transport_alone():
    distiller = WKDL(temperature=2.0, gamma=10.0, decay_start=2)
    distiller.build(logit_shapes())
    distiller.prepare(Set())
    student, teacher = ({'logits': rand(4, 3, seed=seed, dtype=torch.float32)} for seed in (0, 1))
    batch = Batch(torch.zeros(4), labels=torch.tensor([0, 1, 2, 2]))
    steps = [distiller(student, teacher, batch, Progress(epoch=e, epochs=6)) for e in range(1, 7)]
    assert len({step['target'].item() for step in steps}) == 1
    share = [(step['logit'] / steps[0]['logit']).item() for step in steps]
    assert share == pytest.approx([1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0], abs=1e-6)
    whole = wkd_logit_loss(student['logits'], teacher['logits'], batch.labels, distiller.cost_matrix, temperature=2.0,
                           gamma=10.0)
    torch.testing.assert_close(steps[0]['target'] + steps[0]['logit'], whole)


@pytest.mark.parametrize(('student', 'teacher'), [((2, 4, 4, 4), (2, 6, 4, 4)), ((2, 4, 8, 8), (2, 6, 4, 4)),
                                                  ((2, 4, 2, 3), (2, 6, 4, 4))])
def test_feature_class_learns_across_channels_and_sizes(student, teacher):
    torch.manual_seed(0)
    distiller = WKDF(hidden_channels=8)
    distiller.build(Shapes({'final_map': torch.Size(student)}, {'final_map': torch.Size(teacher)}))
    feat = rand(*student, dtype=torch.float32)
    target = {'final_map': rand(*teacher, seed=1, dtype=torch.float32).relu()}
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.02)
    losses = []
    for _ in range(15):
        loss = distiller({'final_map': feat}, target, Batch(torch.zeros(2)), Progress())['feature']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert distiller({'final_map': feat[:1]}, {'final_map': target['final_map'][:1]}, Batch(torch.zeros(1)),
                     Progress())['feature'].isfinite()


def test_bad_input():
    flat = Shapes({'pooled': torch.Size([2, 4])}, {'final_map': torch.Size([2, 4, 4, 4])})
    with pytest.raises(ValueError, match='at least 3'):
        WKDL().build(logit_shapes(2))
    with pytest.raises(ValueError, match='classifier'):
        WKDL(cost_tap='classifier').build(logit_shapes())
    lacking = WKDL()
    lacking.build(logit_shapes())
    with pytest.raises(ValueError, match='class 2 has 1'):
        lacking.prepare(Set(labels=(0, 0, 1, 1, 2)))
    disagreeing = Set()
    disagreeing.teacher_outputs = lambda names: Set(labels=(0, 0, 0, 1, 1, 1, 2, 0, 0)).teacher_outputs(names)
    with pytest.raises(ValueError, match='disagree'):
        lacking.prepare(disagreeing)
    with pytest.raises(ValueError, match='images_per_class'):
        WKDL(images_per_class=1)
    with pytest.raises(ValueError, match='one position'):
        WKDF(grid=4).build(Shapes({'final_map': torch.Size([2, 4, 4, 4])}, {'final_map': torch.Size([2, 4, 4, 4])}))
    with pytest.raises(ValueError, match='maps'):
        WKDF(student_tap='pooled').build(flat)
    with pytest.raises(ValueError, match='one position'):
        wkd_feature_loss(rand(2, 3, 4, 4), rand(2, 3, 4, 4), grid=4)
    with pytest.raises(ValueError, match='one shape'):
        wkd_feature_loss(rand(2, 3, 4, 4), rand(2, 3, 8, 8))
