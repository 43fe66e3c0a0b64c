"""CRD: a slow reference, the draws, the banks, their state, and two processes."""
import math
import multiprocessing
import os
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from zoo.distillers import CRD, Batch, Progress, Shapes, crd_loss, crd_update_memory
from zoo.registry import DISTILLERS

LABELS = torch.tensor([0] * 12 + [1] * 5 + [7] * 3)


def unit(*shape, seed=0):
    feat = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return feat / feat.norm(dim=-1, keepdim=True)


def built(labels=LABELS, num_samples=None, student_shape=(1, 6), **options) -> CRD:
    options = dict({'embedding_dim': 8, 'num_negatives': 5}, **options)
    distiller = DISTILLERS.build(dict(type='CRD', **options))
    distiller.build(Shapes({'pooled': torch.Size(student_shape)}, {'pooled': torch.Size((1, 9))}))
    distiller.prepare(SimpleNamespace(num_samples=len(labels) if num_samples is None else num_samples, labels=labels))
    return distiller


def step(distiller, indices, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(len(indices), 6, generator=generator, requires_grad=True)
    teacher = torch.randn(len(indices), 9, generator=generator)
    batch = Batch(torch.zeros(len(indices), 3, 4, 4), indices=torch.as_tensor(indices))
    return student, distiller({'pooled': student}, {'pooled': teacher}, batch, Progress())['crd']


def slow_loss(student, teacher, contrast, memory_student, memory_teacher, z, temperature, n_data):
    total = 0
    for anchors, memory, constant in ((student, memory_teacher, z[0]), (teacher, memory_student, z[1])):
        scores = [[math.exp(memory[k] @ a / temperature) for k in row] for a, row in zip(anchors, contrast)]
        if constant < 0:
            constant = sum(map(sum, scores)) / contrast.numel() * len(memory)
        noise = (contrast.shape[1] - 1) / n_data
        for row in scores:
            row = [score / constant for score in row]
            total -= math.log(row[0] / (row[0] + noise + 1e-7)) / len(scores)
            total -= sum(math.log(noise / (score + noise + 1e-7)) for score in row[1:]) / len(scores)
    return total


@pytest.mark.parametrize('z', [(-1.0, -1.0), (40.0, 25.0), (-1.0, 30.0)])
def test_matches_a_slow_reference(z):
    student, teacher, banks = unit(3, 4), unit(3, 4, seed=1), (unit(11, 4, seed=2), unit(11, 4, seed=3))
    contrast = torch.randint(11, (3, 6))
    value = crd_loss(student, teacher, contrast[:, 0], contrast, *banks, *map(torch.tensor, z), temperature=0.1,
                     n_data=20)
    assert value.item() == pytest.approx(slow_loss(student, teacher, contrast, *banks, z, 0.1, 20))


def test_bad_input_of_the_functions():
    feat, bank, z, contrast = unit(2, 4), unit(5, 4), torch.tensor(-1.0), torch.zeros(2, 3, dtype=torch.long)
    for wrong in (contrast[:, :1], contrast[:1], contrast[0]):
        with pytest.raises(ValueError, match='contrast_indices'):
            crd_loss(feat, feat, contrast[:, 0], wrong, bank, bank, z, z, n_data=5)
    for options in ({'n_data': 0}, {'n_data': 5, 'temperature': 0.0}):
        with pytest.raises(ValueError, match='n_data >= 1'):
            crd_loss(feat, feat, contrast[:, 0], contrast, bank, bank, z, z, **options)


def test_update_of_the_bank():
    memory, feat = unit(6, 4), unit(3, 4, seed=1)
    new = crd_update_memory(memory, feat, torch.tensor([4, 1, 4]), momentum=0.25)
    assert torch.equal(new[[0, 2, 3, 5]], memory[[0, 2, 3, 5]])
    for row, entry in ((4, 2), (1, 1)):  # of the two entries for row 4 the last counts
        mixed = 0.25 * memory[row] + 0.75 * feat[entry]
        torch.testing.assert_close(new[row], mixed / mixed.norm())
    broken = crd_update_memory(memory, torch.full((1, 4), float('nan'), dtype=torch.float64), torch.tensor([2]))
    assert torch.equal(broken, memory)
    assert torch.equal(crd_update_memory(memory, feat[:0], torch.tensor([], dtype=torch.long)), memory)


@pytest.mark.parametrize('count', [1, 8, 10, 15, 17, 40])
def test_negatives_are_of_other_classes_and_different_where_possible(count):
    torch.manual_seed(0)
    indices = torch.tensor([0, 13, 18, 5])  # with 8, 15, 17 and 8 samples of other classes
    contrast = built(num_negatives=count).contrast_indices(indices)
    assert contrast.shape == (4, count + 1)
    assert torch.equal(contrast[:, 0], indices)
    for row, others in zip(contrast, (8, 15, 17, 8)):
        negatives = row[1:]
        assert (LABELS[negatives] != LABELS[row[0]]).all()
        if count <= others:
            assert len(negatives.unique()) == count


@pytest.mark.parametrize('count', [3, 12])
def test_negatives_are_uniform_and_differ_from_step_to_step(count):
    torch.manual_seed(0)
    distiller = built(num_negatives=count)
    # of the first class: without replacement (3 of 8), with replacement (12 of 8)
    draws = distiller.contrast_indices(torch.zeros(4000, dtype=torch.long))[:, 1:]
    counts = draws.flatten().bincount(minlength=20)
    assert (counts[:12] == 0).all()
    expected = 4000 * count / 8
    assert ((counts[12:] - expected).abs() < 5 * expected**0.5).all()
    assert len(draws[:50].sort(1).values.unique(dim=0)) > 20


def test_relaxed_positives_and_sets_without_labels():
    torch.manual_seed(0)
    indices = torch.arange(20).repeat(20)
    positives = built(mode='relax').contrast_indices(indices)[:, 0]
    assert torch.equal(LABELS[positives], LABELS[indices])
    assert len(positives[indices == 0].unique()) > 5
    unlabelled = built(labels=None, num_samples=20).contrast_indices(indices)
    assert torch.equal(unlabelled[:, 0], indices)
    assert len(unlabelled[:, 1:].unique()) == 20


def test_steps_update_banks_and_fix_the_normalisers():
    torch.manual_seed(0)
    distiller = built(momentum=0.0)
    bound = 1 / math.sqrt(8 / 3)
    assert distiller.memory_student.shape == (20, 8)
    assert distiller.memory_student.abs().max() <= bound
    assert distiller.memory_student.abs().max() > 0.8 * bound
    before = distiller.memory_student.clone()
    student, loss = step(distiller, [3, 15, 3])
    loss.backward()
    assert student.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in distiller.parameters())
    assert torch.equal(distiller.memory_student[[0, 19]], before[[0, 19]])
    torch.testing.assert_close(distiller.memory_student[[15, 3]], distiller.student_embedding(student)[1:])
    z = distiller.z_student.clone()
    assert z > 0
    step(distiller, [1])[1].backward()  # a last batch of one image
    assert torch.equal(distiller.z_student, z)
    frozen = distiller.memory_student.clone()
    step(distiller.eval(), [7])
    assert torch.equal(distiller.memory_student, frozen)


def test_the_first_step_equals_the_function():
    distiller = built()
    torch.manual_seed(1)
    contrast = distiller.contrast_indices(torch.tensor([3, 15]))
    banks = distiller.memory_student.clone(), distiller.memory_teacher.clone()
    torch.manual_seed(1)
    student, loss = step(distiller, [3, 15])
    generator = torch.Generator().manual_seed(0)
    torch.randn(2, 6, generator=generator)
    teacher = torch.randn(2, 9, generator=generator)
    unset = torch.tensor(-1.0)
    embeddings = distiller.student_embedding(student), distiller.teacher_embedding(teacher)
    expected = crd_loss(*embeddings, contrast[:, 0], contrast, *banks, unset, unset, n_data=20)
    torch.testing.assert_close(loss, expected)


def test_state_round_trip():
    torch.manual_seed(0)
    source, target = built(), built()
    step(source, [0, 4, 13])
    assert {'memory_student', 'memory_teacher', 'z_student', 'z_teacher'} <= set(source.state_dict())
    target.load_state_dict(source.state_dict())
    losses = []
    for distiller in (source, target):
        torch.manual_seed(3)
        losses.append([step(distiller, [4, 18], seed=s)[1].item() for s in (1, 2)])
    assert losses[0] == losses[1]


def test_a_map_is_flattened_and_a_step_lowers_the_loss():
    torch.manual_seed(0)
    distiller = built(student_shape=(1, 2, 3, 1), num_negatives=12)
    leaves, losses = list(distiller.parameters()), []
    student, teacher = torch.randn(6, 2, 3, 1), torch.randn(6, 9)
    batch = Batch(torch.zeros(6, 3, 4, 4), indices=torch.arange(0, 18, 3))
    for _ in range(60):
        loss = distiller({'pooled': student}, {'pooled': teacher}, batch, Progress())['crd']
        with torch.no_grad():
            for leaf, grad in zip(leaves, torch.autograd.grad(loss, leaves)):
                leaf -= 0.02 * grad
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    feat = unit(3, 4).to(dtype).requires_grad_()
    contrast = torch.randint(11, (3, 9))
    bank, z = unit(11, 4, seed=2).float(), torch.tensor(-1.0)
    loss = crd_loss(feat, feat, contrast[:, 0], contrast, bank, bank, z, z, temperature=0.07, n_data=11)
    loss.backward()
    assert loss.isfinite()
    assert feat.grad.isfinite().all()


@pytest.mark.parametrize(('options', 'message'), [
    ({'num_negatives': 0}, 'num_negatives >= 1'), ({'embedding_dim': 0}, 'embedding_dim >= 1'),
    ({'temperature': 0.0}, 'temperature > 0'), ({'momentum': 1.0}, 'momentum < 1'), ({'mode': 'soft'}, "not 'soft'"),
    ({'labels': LABELS, 'num_samples': 19}, '19 samples'), ({'labels': torch.zeros(20, 3)}, r'\(20, 3\)'),
    ({'labels': torch.zeros(4, dtype=torch.long)}, 'single class'), ({'labels': None, 'num_samples': 1}, 'has 1:'),
    ({'labels': None, 'num_samples': 4, 'mode': 'relax'}, 'needs labels')])
def test_bad_arguments_and_data_sets(options, message):
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_bad_batches():
    distiller = built()
    with pytest.raises(ValueError, match='from 2 to 20'):
        step(distiller, [2, 20])
    with pytest.raises(ValueError, match='indices is None'):
        distiller({}, {}, Batch(torch.zeros(1, 3, 4, 4)), Progress())
    with pytest.raises(ValueError, match='prepare'):
        CRD()({}, {}, Batch(torch.zeros(1, 3, 4, 4), indices=torch.tensor([0])), Progress())


def _process(rank, path, state, queue):
    """One of two processes, with batches of different sizes and, but for the embeddings, different seeds."""
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{path}', rank=rank, world_size=2)
    torch.manual_seed(rank)
    distiller = built()
    start = distiller.memory_student.clone()
    distiller.load_state_dict({k: v for k, v in state.items() if 'embedding' in k}, strict=False)
    with torch.no_grad():
        step(distiller, [[3, 15, 9], [3, 18]][rank], seed=rank)
    names = ('memory_student', 'memory_teacher', 'z_student', 'z_teacher')
    queue.put((rank, start.numpy(), [getattr(distiller, name).numpy() for name in names]))
    distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_two_processes_keep_equal_banks(tmp_path):
    reference = built()
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [context.Process(target=_process, args=(rank, tmp_path / 'store', reference.state_dict(), queue))
                 for rank in range(2)]
    for process in processes:
        process.start()
    try:
        results = {rank: (start, rest) for rank, start, rest in (queue.get(timeout=60) for _ in processes)}
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    start = torch.as_tensor(results[0][0])
    assert torch.equal(start, torch.as_tensor(results[1][0]))
    for one, other in zip(results[0][1], results[1][1]):
        assert (one == other).all()
    # rows of both processes' batches; row 3 was in both, where the later rank counts
    memory = start.double()
    with torch.no_grad():
        for rank, indices in ((0, [3, 15, 9]), (1, [3, 18])):
            feats = torch.randn(len(indices), 6, generator=torch.Generator().manual_seed(rank))
            for index, feat in zip(indices, reference.student_embedding(feats).double()):
                mixed = (start[index].double() + feat) / 2
                memory[index] = mixed / mixed.norm()
    torch.testing.assert_close(torch.as_tensor(results[0][1][0]).double(), memory, atol=1e-5, rtol=1e-5)
