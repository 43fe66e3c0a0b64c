"""KD-SVD: both modes against a slow reference, signs, dead channels, shapes."""
import numpy as np
import pytest
import torch

from zoo.distillers import KDSVD, Batch, Progress, Shapes, kdsvd_loss

BATCH = Batch(torch.zeros(2, 3, 8, 8))


def maps(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def slow(student, teacher, k, mode):
    """By numpy, image by image."""
    total = 0.0
    for n in range(len(student[0])):
        levels = []
        for s, t in zip(student, teacher):
            vectors = []
            for feat in (s[n], t[n]):
                channels, height, width = feat.shape
                matrix = feat.reshape(channels, -1).T if mode == 'channel' else feat.reshape(channels * height, width)
                _, values, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
                vectors.append(right)
            own, other, values = vectors[0][:k + 3], vectors[1][:k], values[:k]
            values = values / np.linalg.norm(values)
            aligned = []
            for j in range(k):
                if other[j][np.abs(other[j]).argmax()] < 0:
                    other[j] = -other[j]
                cosines = own @ other[j]
                best = np.abs(cosines).argmax()
                aligned.append(own[best] * np.sign(cosines[best]) * values[j])
            levels.append((aligned, [other[j] * values[j] for j in range(k)]))
        for (s1, t1), (s0, t0) in zip(levels[1:], levels):
            for j in range(k):
                relation = [np.exp(-np.subtract.outer(a, b) ** 2 / 8) for a, b in ((s1[j], s0[j]), (t1[j], t0[j]))]
                total += ((relation[0] - relation[1]) ** 2).sum()
    return total / len(student[0])


@pytest.mark.parametrize('k', [1, 2, 4])
@pytest.mark.parametrize('mode', ['channel', 'width'])
def test_matches_a_slow_reference(k, mode):
    student = maps((3, 5, 4, 6), (3, 7, 3, 5), (3, 6, 4, 4))
    if mode == 'channel':
        teacher = maps((3, 5, 3, 7), (3, 7, 4, 4), (3, 6, 3, 3), seed=1)
    else:
        teacher = maps((3, 4, 2, 6), (3, 9, 3, 5), (3, 2, 4, 4), seed=1)
    value = kdsvd_loss(student, teacher, k=k, mode=mode)
    assert value.dtype == (torch.float64 if mode == 'channel' else torch.float32)
    assert value.item() == pytest.approx(slow(student, teacher, k, mode), rel=1e-9 if mode == 'channel' else 1e-3)


@pytest.mark.parametrize('mode', ['channel', 'width'])
def test_sign_of_the_maps_and_the_teacher_itself(mode):
    student, teacher = maps((2, 5, 4, 4), (2, 6, 4, 4)), maps((2, 5, 4, 4), (2, 6, 4, 4), seed=1)
    loss = kdsvd_loss(student, teacher, mode=mode)
    # the right-singular vectors' sign is free: neither side's may count
    torch.testing.assert_close(kdsvd_loss([-student[0], student[1]], [teacher[0], -teacher[1]], mode=mode), loss)
    assert kdsvd_loss(teacher, teacher, mode=mode) < 1e-8
    torch.testing.assert_close(kdsvd_loss([s.flip(0) for s in student], [t.flip(0) for t in teacher], mode=mode), loss)


def test_dead_channels_leave_other_images_their_gradient():
    student, teacher = maps((2, 6, 3, 3), (2, 6, 3, 3)), maps((2, 6, 3, 3), (2, 6, 3, 3), seed=1)
    alone = [s[1:].clone().requires_grad_() for s in student]
    (kdsvd_loss(alone, [t[1:] for t in teacher]) / 2).backward()
    student[0][0, 2:] = 0
    for feat in student:
        feat.requires_grad_()
    loss = kdsvd_loss(student, teacher)
    loss.backward()
    assert loss.isfinite()
    for feat, expected in zip(student, alone):
        assert feat.grad.isfinite().all()
        torch.testing.assert_close(feat.grad[1:], expected.grad)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('mode', ['channel', 'width'])
def test_half_precision(dtype, mode):
    student = [(100 * m - 50).to(dtype).requires_grad_() for m in maps((2, 6, 4, 4), (2, 6, 4, 4))]
    loss = kdsvd_loss(student, [(100 * m - 50).to(dtype) for m in maps((2, 6, 4, 4), (2, 6, 4, 4), seed=1)], mode=mode)
    loss.backward()
    assert loss.isfinite()
    assert all(s.grad.isfinite().all() for s in student)


def test_non_finite_maps_do_not_stop_the_run():
    student, teacher = maps((2, 6, 4, 4), (2, 6, 4, 4)), maps((2, 6, 4, 4), (2, 6, 4, 4), seed=1)
    student[0][0, 0, 0, 0] = float('inf')
    assert kdsvd_loss(student, teacher).isfinite()


def test_class_pools_in_width_mode():
    student, teacher = maps((2, 4, 8, 8), (2, 6, 4, 4)), maps((2, 5, 4, 4), (2, 3, 4, 4), seed=1)
    distiller = KDSVD(mode='width')
    distiller.build(Shapes({'stages': [s.shape for s in student]}, {'stages': [t.shape for t in teacher]}))
    terms = distiller({'stages': student}, {'stages': teacher}, BATCH, Progress())
    pooled = [torch.nn.functional.adaptive_avg_pool2d(student[0], 4), student[1]]
    assert terms == {'kdsvd': kdsvd_loss(pooled, teacher, mode='width')}


@pytest.mark.parametrize(('student', 'teacher', 'options', 'message'), [
    ([(1, 4, 4, 4)], [(1, 4, 4, 4)], {}, 'got one'),
    ([(1, 4, 4, 4)] * 2, [(1, 8, 4, 4)] * 2, {}, "mode='width'"),
    ([(1, 4, 4, 4)] * 2, [(1, 4, 4, 4)] * 2, {'k': 5}, 'has only 4'),
    ([(1, 4, 4, 4)] * 2, [(1, 8, 1, 1)] * 2, {'k': 2, 'mode': 'width'}, 'has only 1'),
    ([(1, 4, 4, 4)] * 2, [(1, 4)] * 2, {}, 'feature maps')])
def test_bad_shapes_are_refused_at_build(student, teacher, options, message):
    shapes = Shapes(*({'stages': [torch.Size(s) for s in side]} for side in (student, teacher)))
    with pytest.raises(ValueError, match=message):
        KDSVD(**options).build(shapes)


def test_bad_arguments():
    for options in ({'k': 0}, {'mode': 'height'}):
        with pytest.raises(ValueError, match='k >= 1'):
            KDSVD(**options)
        with pytest.raises(ValueError, match='k >= 1'):
            kdsvd_loss(maps((1, 4, 4, 4)) * 2, maps((1, 4, 4, 4)) * 2, **options)
    with pytest.raises(ValueError, match='equal width'):
        kdsvd_loss(maps((1, 4, 4, 4)) * 2, maps((1, 4, 4, 5)) * 2, mode='width')


def test_descent():
    student, teacher = maps((2, 6, 4, 4), (2, 6, 4, 4)), maps((2, 6, 4, 4), (2, 6, 4, 4), seed=1)
    for feat in student:
        feat.requires_grad_()
    before = kdsvd_loss(student, teacher).item()
    for _ in range(10):
        grads = torch.autograd.grad(kdsvd_loss(student, teacher), student)
        with torch.no_grad():
            for feat, grad in zip(student, grads):
                feat -= 100 * grad
    assert kdsvd_loss(student, teacher) < 0.95 * before
