"""What is special to the ND term: class means, the embedder, mixed labels."""
import pytest
import torch

from zoo.distillers import ND, Batch, Progress, Shapes, mix_centers, nd_loss


class TrainingSet:
    """A training set whose teacher's embeddings are given."""
    num_samples = 12

    def __init__(self, feats, labels):
        self.feats, self.labels, self.passes = feats, labels, []
        self.cache = {}

    def teacher_outputs(self, names, *, augment=False):
        self.passes.append((names, augment))
        for part in torch.arange(len(self.feats)).split(5):
            labels = self.labels[part]
            yield {names[0]: self.feats[part]}, Batch(torch.zeros(len(part), 1, 1, 1), labels=labels)

    def cached(self, key, compute):
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]


def prepared(student_width=8, teacher_width=8, **options):
    torch.manual_seed(0)
    training_set = TrainingSet(torch.rand(12, teacher_width) + 0.1, torch.arange(12) % 4)
    distiller = ND(**options)
    distiller.build(Shapes(dict(pooled=torch.Size((2, student_width))), dict(pooled=torch.Size((2, teacher_width))), 4))
    distiller.prepare(training_set)
    return distiller, training_set


def test_class_means_are_plain_averages_cached_and_saved():
    distiller, training_set = prepared(augment=False)
    for k in range(4):
        torch.testing.assert_close(distiller.class_means[k], training_set.feats[training_set.labels == k].mean(0))
    assert training_set.passes == [(('pooled',), False)] and len(training_set.cache) == 1
    distiller.prepare(training_set)
    assert len(training_set.passes) == 1
    other = ND()
    other.build(Shapes(dict(pooled=torch.Size((2, 8))), dict(pooled=torch.Size((2, 8))), 4))
    other.load_state_dict(distiller.state_dict())
    assert torch.equal(other.class_means, distiller.class_means)


def test_at_the_class_mean_it_is_zero_and_a_longer_teacher_asks_for_length():
    means = torch.randn(3, 5).double()
    labels = torch.tensor([0, 1, 2])
    assert abs(float(nd_loss(2 * means, means, labels, means))) < 1e-12
    student = (0.5 * means).requires_grad_()
    loss = nd_loss(student, means, labels, means)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert ((student - student.grad).norm(dim=1) > student.norm(dim=1)).all()


def test_at_equal_norms_the_students_is_taken():
    means = torch.randn(3, 5).double()
    student = means.roll(1, 0).clone().requires_grad_()
    labels = torch.arange(3)
    nd_loss(student, student.detach().clone(), labels, means).backward()
    # one minus a cosine has no gradient along the embedding
    torch.testing.assert_close((student.grad * student).sum(1), torch.zeros(3).double())


def test_embedder_trains_and_takes_a_batch_of_one():
    distiller, _ = prepared(student_width=3, dropout=0.0)
    assert sum(p.numel() for g in distiller.param_groups() for p in g['params']) == 3 * 2 + 3 * 8 + 8
    assert (distiller.embedder[2].bias == 0).all()
    student, teacher = torch.randn(8, 3, requires_grad=True), torch.rand(8, 8)
    labels = torch.arange(8) % 4

    def loss(part=slice(None)):
        batch = Batch(torch.zeros(8, 1, 1, 1)[part], labels=labels[part])
        return distiller(dict(pooled=student[part]), dict(pooled=teacher[part]), batch, Progress())['nd']
    first = loss().item()
    optimizer = torch.optim.SGD([student, *distiller.parameters()], 0.5)
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss() < 0.5 * first
    before = distiller.embedder[0].running_mean.clone()
    one = loss(slice(1))
    one.backward()
    assert one.isfinite() and torch.equal(distiller.embedder[0].running_mean, before)
    assert loss().isfinite() and distiller.embedder[0].training
    imagenet = ND(embedder_init='imagenet')
    imagenet.build(Shapes(dict(pooled=torch.Size((2, 300))), dict(pooled=torch.Size((2, 200))), 4))
    assert imagenet.embedder[2].weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_mixed_labels_use_the_batchs_reverse():
    distiller, training_set = prepared()
    labels, shares = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([0.7, 0.6, 0.6, 0.7, 1.0])
    student, teacher = torch.rand(5, 8), torch.rand(5, 8)
    batch = Batch(torch.zeros(5, 1, 1, 1), labels=torch.full((5, 4), 0.25), hard_labels=labels,
                  extra=dict(mixup_lam=shares))
    loss = distiller(dict(pooled=student), dict(pooled=teacher), batch, Progress())['nd']
    means, on, off = distiller.class_means, 1 - 0.1 + 0.1 / 4, 0.1 / 4
    own = torch.stack([on * means[labels[n]] + off * sum(means[labels[j]] for j in range(4) if j != n)
                       for n in range(4)])
    centers = [shares[n] * own[n] + (1 - shares[n]) * own[3 - n] for n in range(4)] + [means[1]]
    torch.testing.assert_close(loss, nd_loss(student, teacher, centers=torch.stack(centers)))
    torch.testing.assert_close(mix_centers(labels, means, lam=1.0, smoothing=0.0), means[labels])
    with pytest.raises(ValueError, match='mixup_lam'):
        distiller(dict(pooled=student), dict(pooled=teacher), Batch(batch.images, batch.labels), Progress())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    student = torch.full((2, 512), 300.0, dtype=dtype, requires_grad=True)
    loss = nd_loss(student, student.detach() / 2, torch.tensor([0, 1]), torch.rand(2, 512) + 0.1)
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and student.grad.isfinite().all()


def test_bad_input():
    with pytest.raises(ValueError, match='labels and class_means'):
        nd_loss(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match='one width'):
        nd_loss(torch.ones(2, 3), torch.ones(2, 4), centers=torch.ones(2, 4))
    with pytest.raises(ValueError, match='set student_tap'):
        ND().build(Shapes(dict(pooled=torch.Size((2, 8, 4, 4))), dict(pooled=torch.Size((2, 8))), 4))
    with pytest.raises(ValueError, match='embedder_init'):
        ND(embedder_init='kaiming')
    distiller = ND()
    distiller.build(Shapes(dict(pooled=torch.Size((2, 8))), dict(pooled=torch.Size((2, 8))), 4))
    taps, labels = dict(pooled=torch.ones(2, 8)), torch.tensor([0, 1])
    with pytest.raises(ValueError, match='call prepare'):
        distiller(taps, taps, Batch(torch.zeros(2, 1, 1, 1), labels=labels), Progress())
    with pytest.raises(ValueError, match=r'1 of 4 have no sample: \[3\]'):
        distiller.prepare(TrainingSet(torch.ones(12, 8), torch.arange(12) % 3))
    with pytest.raises(ValueError, match='augment=False'):
        distiller.prepare(TrainingSet(torch.ones(12, 8), torch.full((12, 4), 0.25)))
