"""CIRKD: slow references, the queues' order and their wrap-around, the class and its state."""
import math
import multiprocessing
import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed

import zoo.distillers.dense.cirkd as module
from zoo.distillers import (
    CIRKD,
    KD,
    Batch,
    Progress,
    Shapes,
    cirkd_memory_loss,
    cirkd_minibatch_loss,
    cirkd_update_memory,
    kd_loss,
    pixel_kd_loss,
)

N, K, SIDE, C_S, C_T = 2, 3, 4, 5, 6


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- functions

def test_pixel_kd_is_kd_with_pixels_as_samples():
    student, teacher = double(2, 5, 3, 4), double(2, 5, 3, 4, seed=1)
    rows = [x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (student, teacher)]
    for temperature in (1.0, 4.0):
        expected = kd_loss(*rows, temperature=temperature)
        torch.testing.assert_close(pixel_kd_loss(student, teacher, temperature=temperature), expected)
        torch.testing.assert_close(kd_loss(student, teacher, temperature=temperature), expected)


def test_kd_on_maps_of_different_sizes():
    student, teacher = double(2, 5, 8, 8), double(2, 5, 4, 4, seed=1)
    term = KD(temperature=2.0)({'logits': student}, {'logits': teacher}, None, Progress())['kd']
    torch.testing.assert_close(term, pixel_kd_loss(F.avg_pool2d(student, 2), teacher, temperature=2.0))


def slow_minibatch(student, teacher, temperature):
    total = 0
    for i in range(len(student)):
        for j in range(len(student)):
            rows = []
            for x in (student, teacher):
                a, b = ([x[n, :, y, z] / x[n, :, y, z].norm() for y in range(x.shape[2]) for z in range(x.shape[3])]
                        for n in (i, j))
                rows.append(torch.stack([torch.stack([p @ q for q in b]) for p in a]) / temperature)
            s, t = (r.softmax(1) for r in rows)
            total = total + (t * (t.log() - s.log())).sum(1).mean()
    return total / len(student)**2


@pytest.mark.parametrize('chunk', [2**24, 1])
def test_minibatch_by_definition_and_in_pieces(chunk, monkeypatch):
    monkeypatch.setattr(module, 'CHUNK', chunk)
    student, teacher = double(3, 4, 2, 3).requires_grad_(), double(3, 6, 2, 3, seed=1)
    expected = slow_minibatch(student, teacher, 0.2)
    want, = torch.autograd.grad(expected, student)
    loss = cirkd_minibatch_loss(student, teacher, temperature=0.2)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], want)


def test_minibatch_pools_first():
    student, teacher = double(2, 4, 5, 5), double(2, 4, 5, 5, seed=1)
    pooled = [F.avg_pool2d(x, 2, ceil_mode=True) for x in (student, teacher)]
    torch.testing.assert_close(cirkd_minibatch_loss(student, teacher, pool=2), cirkd_minibatch_loss(*pooled))
    assert pooled[0].shape[2] == 3


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_minibatch_laws(seed, scale):
    """Blind to the embeddings' length and the images' order; zero for equal similarities."""
    student, teacher = double(3, 4, 2, 2, seed=seed), double(3, 4, 2, 2, seed=seed + 1)
    loss = cirkd_minibatch_loss(student, teacher)
    assert loss >= 0
    torch.testing.assert_close(cirkd_minibatch_loss(scale * student, teacher), loss)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(cirkd_minibatch_loss(student[order], teacher[order]), loss)
    rotation = torch.linalg.qr(double(4, 4, seed=seed + 2)).Q
    rotated = torch.einsum('ab,nbhw->nahw', rotation, teacher)
    assert cirkd_minibatch_loss(rotated, teacher).abs() < 1e-9


def memory_inputs(labels):
    return (double(N, C_T, SIDE, SIDE), double(N, C_T, SIDE, SIDE, seed=1), labels, double(K, 7, C_T, seed=2),
            double(K, 5, C_T, seed=3), torch.tensor([4, 0, 6]), torch.tensor([1, 2]))


@pytest.mark.parametrize('chunk', [2**24, 1])
def test_memory_by_definition(chunk, monkeypatch):
    """Ignored pixels do not count; labels come down by the nearest neighbour."""
    monkeypatch.setattr(module, 'CHUNK', chunk)
    labels = torch.randint(K, (N, 2 * SIDE, 2 * SIDE), generator=torch.Generator().manual_seed(0))
    labels[0, :4] = 255
    student, teacher, _, *queues, pixel_index, region_index = memory_inputs(labels)
    student.requires_grad_()
    got = cirkd_memory_loss(student, teacher, labels, *queues, pixel_index, region_index, contrast_temperature=0.3,
                            kd_temperature=2.0, ignore_index=255)
    for name, queue, index in zip(('pixel', 'region'), queues, (pixel_index, region_index)):
        contrast = torch.cat([queue[k][index] for k in range(K)])
        losses = []
        for n in range(N):
            for y in range(SIDE):
                for x in range(SIDE):
                    if labels[n, 2 * y, 2 * x] != 255:
                        s, t = ((f[n, :, y, x] / f[n, :, y, x].norm() @ contrast.T / 0.6).softmax(0)
                                for f in (student, teacher))
                        losses.append((t * (t / s).log()).sum())
        assert len(losses) == N * SIDE**2 - 8
        torch.testing.assert_close(got[name], 4 * torch.stack(losses).mean())
    assert torch.autograd.grad(sum(got.values()), student)[0][0, :, :2].abs().max() == 0


def test_memory_without_a_valid_pixel():
    student, *rest = memory_inputs(torch.full((N, SIDE, SIDE), 255))
    student.requires_grad_()
    terms = cirkd_memory_loss(student, *rest, ignore_index=255)
    sum(terms.values()).backward()
    assert terms['pixel'] == terms['region'] == 0 and student.grad.abs().max() == 0


def empty_memory(pixels=5, regions=2):
    return (torch.zeros(K, pixels, C_T), torch.zeros(K, regions, C_T), torch.zeros(K, dtype=torch.long),
            torch.zeros(K, dtype=torch.long))


def update(memory, feat, labels, **options):
    noise = torch.rand(len(feat), feat[0, 0].numel(), generator=torch.Generator().manual_seed(0))
    return cirkd_update_memory(feat, labels, *memory, noise, ignore_index=255, **options)


def test_update_takes_images_and_classes_in_order():
    """The first image's class means come before the second's; the arguments stay as they were."""
    feat = torch.randn(2, C_T, 2, 2)
    labels = torch.tensor([[[1, 1], [0, 255]], [[1, 255], [1, 1]]])
    memory = empty_memory()
    before = [x.clone() for x in memory]
    new = update(memory, feat, labels, pixel_update=1, class_pixels=True)
    unit = F.normalize(feat, dim=1)
    torch.testing.assert_close(new['region_queue'][1, 0], F.normalize(unit[0, :, 0].mean(1), dim=0))
    second = F.normalize((unit[1, :, 0, 0] + unit[1, :, 1, 0] + unit[1, :, 1, 1]) / 3, dim=0)
    torch.testing.assert_close(new['region_queue'][1, 1], second)
    assert new['region_ptr'].tolist() == [1, 0, 0], 'two entries wrap the ring of two'
    assert new['pixel_ptr'].tolist() == [1, 2, 0]
    torch.testing.assert_close(new['pixel_queue'][0, 0], unit[0, :, 1, 0])
    assert not new['pixel_queue'][2].any() and not new['region_queue'][2].any()
    for old, kept in zip(before, memory):
        torch.testing.assert_close(old, kept)


def test_update_wraps_to_the_last_slots():
    """Three at a time into five slots: 0-2, then the last three, then from the start."""
    memory, feats = empty_memory(), torch.randn(3, 1, C_T, 2, 2)
    labels, steps = torch.zeros(1, 2, 2, dtype=torch.long), []
    for feat in feats:
        new = update(memory, feat, labels, pixel_update=3)
        memory = tuple(new.values())
        steps.append(new)
    assert [int(step['pixel_ptr'][0]) for step in steps] == [3, 0, 3]
    changed = [(a['pixel_queue'] != b['pixel_queue'])[0].any(1).tolist() for a, b in zip(steps, steps[1:])]
    assert changed == [[False, False, True, True, True], [True, True, True, False, False]]


def test_class_pixels_are_of_the_class_and_the_released_ones_are_not():
    labels = torch.tensor([[[0, 0], [1, 1]]])
    feat = torch.zeros(1, C_T, 2, 2)
    feat[0, 0, 0], feat[0, 1, 1] = 1, 1  # class 0 points along axis 0, class 1 along axis 1
    pure = update(empty_memory(), feat, labels, pixel_update=2, class_pixels=True)['pixel_queue']
    released = update(empty_memory(), feat, labels, pixel_update=2)['pixel_queue']
    assert pure[1, :2, 1].tolist() == [1, 1] and released[1, :2, 0].tolist() == [1, 1]


@pytest.mark.parametrize(('labels', 'options', 'message'), [
    ([[[0, 7], [1, 1]]], {}, r'a label is 7'),
    ([[[0, 0], [0, 0]]], dict(pixel_update=16), None),
])
def test_update_bad_labels(labels, options, message):
    feat, labels = torch.randn(1, C_T, 2, 2), torch.tensor(labels)
    if message:
        with pytest.raises(ValueError, match=message):
            update(empty_memory(), feat, labels, **options)
    else:
        assert update(empty_memory(), feat, labels, **options)['pixel_ptr'][0] == 4
        with pytest.raises(ValueError, match='lower pixel_update'):
            update(empty_memory(pixels=3), feat, labels, **options)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    logits = 50 * torch.randn(2, 4, 3, 3).sign()
    assert pixel_kd_loss(logits.to(dtype), -logits.to(dtype)).isfinite()
    feat = (100 * torch.randn(2, 4, 3, 3)).to(dtype)
    assert cirkd_minibatch_loss(feat, -feat).isfinite()


# ---- class

def made(seed=0, num_classes=K, **options):
    torch.manual_seed(seed)
    options = dict(pixel_memory=20, region_memory=6, pixel_contrast=12, region_contrast=4, **options)
    distiller = CIRKD(**options)
    shape = {'logits': torch.Size((2, K, SIDE, SIDE)), 'decode_features': torch.Size((2, C_S, SIDE, SIDE))}
    other = dict(shape, decode_features=torch.Size((2, C_T, SIDE, SIDE)))
    distiller.build(Shapes({n: shape[n] for n in distiller.needs.student}, {n: other[n] for n in distiller.needs.teacher},
                           num_classes=num_classes))
    distiller.prepare(None)
    return distiller


def taps(channels, seed, size=SIDE):
    g = torch.Generator().manual_seed(seed)
    return {'logits': torch.randn(N, K, size, size, generator=g),
            'decode_features': torch.randn(N, channels, size, size, generator=g)}


def batch(ignored=False):
    labels = torch.randint(K, (N, 16, 16), generator=torch.Generator().manual_seed(5))
    return Batch(torch.zeros(N, 3, 16, 16), labels=labels.fill_(255) if ignored else labels)


def test_steps_lower_the_loss_and_fill_the_queues():
    distiller, teacher = made(), taps(C_T, 1)
    student = {k: v.requires_grad_() for k, v in taps(C_S, 2, size=8).items()}
    start = distiller.pixel_queue.clone()
    optimizer = torch.optim.Adam([*student.values(), *distiller.param_groups()[0]['params']], lr=0.05)
    losses = []
    for _ in range(13):
        torch.manual_seed(0)
        terms = distiller(student, teacher, batch(), Progress())
        assert set(terms) == {'pixel_kd', 'minibatch', 'pixel', 'region'}
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[1]
    assert (distiller.pixel_queue != start).any() and distiller.region_ptr.tolist() == [2, 2, 2], '26 entries in rings of 6'
    assert all(p.grad is not None for p in distiller.parameters())


def test_state_is_restored():
    """A fresh distiller with the saved queues and projector draws the same loss."""
    first, fresh = made(), made(seed=9)
    student, teacher = taps(C_S, 2), taps(C_T, 1)
    first(student, teacher, batch(), Progress())
    assert {'pixel_queue', 'region_queue', 'pixel_ptr', 'region_ptr'} <= set(first.state_dict())
    fresh.load_state_dict(first.state_dict())
    results = []
    for distiller in (first, fresh):
        torch.manual_seed(3)
        results.append(distiller(student, teacher, batch(), Progress()))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)
    torch.testing.assert_close(first.pixel_queue, fresh.pixel_queue)


def test_everything_ignored_is_finite():
    distiller = made()
    before = distiller.pixel_queue.clone()
    student = {k: v.requires_grad_() for k, v in taps(C_S, 2).items()}
    terms = distiller(student, taps(C_T, 1), batch(ignored=True), Progress())
    sum(terms.values()).backward()
    assert terms['pixel'] == terms['region'] == 0
    assert student['decode_features'].grad.isfinite().all()
    torch.testing.assert_close(distiller.pixel_queue, before)


def test_without_memory_there_are_no_queues_and_no_labels():
    distiller = made(pixel_weight=0, region_weight=0)
    assert not distiller.state_dict() and not distiller.needs.labels
    terms = distiller(taps(C_S, 2), taps(C_T, 1), Batch(torch.zeros(N, 3, 16, 16)), Progress())
    assert set(terms) == {'pixel_kd', 'minibatch'}
    assert made(minibatch_weight=0, pixel_weight=0, region_weight=0).needs.student == ('logits',)


def test_slots_of_a_class_share_the_contrast():
    """As in the released training script: 4096 // K + 1 of each class."""
    distiller = made()
    assert len(distiller._draw(distiller.pixel_queue, 12)) == 5
    assert math.isclose(len(distiller._draw(distiller.region_queue, 10**6)), 6)


def _process(rank, path, queue):
    """One of two processes, with batches of different sizes and different seeds."""
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{path}', rank=rank, world_size=2)
    distiller = made(seed=rank, class_pixels=True)
    start = distiller.region_queue.clone()
    images = [slice(0, 2), slice(0, 1)][rank]
    student, teacher = ({k: v[images] for k, v in taps(c, s + rank).items()} for c, s in ((C_S, 2), (C_T, 10)))
    data = Batch(torch.zeros(2 - rank, 3, 16, 16), labels=batch().labels[images])
    distiller(student, teacher, data, Progress())
    names = ('pixel_queue', 'region_queue', 'pixel_ptr', 'region_ptr')
    queue.put((rank, start.numpy(), [getattr(distiller, name).numpy() for name in names]))
    distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_two_processes_keep_equal_queues(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [context.Process(target=_process, args=(rank, tmp_path / 'store', queue)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        results = {rank: rest for rank, *rest in (queue.get(timeout=60) for _ in processes)}
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    assert (results[0][0] == results[1][0]).all(), 'the start is that of the first process'
    for one, other in zip(results[0][1], results[1][1]):
        assert (one == other).all()
    # the three images of both processes, in the order of their ranks
    regions, start = torch.as_tensor(results[0][1][1]), torch.as_tensor(results[0][0])
    feat = torch.cat([taps(C_T, 10)['decode_features'], taps(C_T, 11)['decode_features'][:1]])
    labels = torch.cat([batch().labels, batch().labels[:1]])
    assert all(set(label[::4, ::4].unique().tolist()) == set(range(K)) for label in labels)
    expected = update((torch.zeros(K, 20, C_T), start, torch.zeros(K).long(), torch.zeros(K).long()), feat, labels)
    torch.testing.assert_close(regions, expected['region_queue'])
    assert results[0][1][3].tolist() == [3, 3, 3]


@pytest.mark.parametrize(('options', 'message'), [
    (dict(kd_weight=0, minibatch_weight=0, pixel_weight=0, region_weight=0), 'no term'),
    (dict(contrast_temperature=0), 'temperatures above 0'),
    (dict(pixel_update=21), 'pixel_memory >= pixel_update'),
    (dict(num_classes=None), 'num_classes'),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_bad_taps():
    with pytest.raises(ValueError, match='same classes'):
        CIRKD().build(Shapes({'logits': torch.Size((2, 3, 4, 4))}, {'logits': torch.Size((2, 5, 4, 4))}, num_classes=3))
    with pytest.raises(ValueError, match=r'maps \(N, C, h, w\)'):
        CIRKD().build(Shapes({'logits': torch.Size((2, 3))}, {'logits': torch.Size((2, 3))}, num_classes=3))
    with pytest.raises(ValueError, match='project'):
        cirkd_memory_loss(double(1, 2, 3, 3), double(1, 4, 3, 3), torch.zeros(1, 3, 3), double(2, 3, 4), double(2, 3, 4),
                          torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(ValueError, match='one size'):
        cirkd_minibatch_loss(double(1, 2, 3, 3), double(1, 2, 4, 3))
