"""TRG: the graph against a slow one, what scaling leaves alone, and tokens of grids that differ."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import (
    TRG,
    Batch,
    Progress,
    Shapes,
    trg_global_loss,
    trg_inner_loss,
    trg_local_loss,
    trg_loss,
    trg_temperature,
)


def slow_rows(tokens, k, sigma):
    """Softmax rows of the k-nearest-neighbour graph, entry by entry."""
    tokens = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in tokens.tolist()]
    rows = []
    for i, own in enumerate(tokens):
        distance = [sum((a - b)**2 for a, b in zip(own, other)) for other in tokens]
        nearest = sorted((d, j) for j, d in enumerate(distance) if j != i)[:k]
        edges = [0.0] * len(tokens)
        for d, j in nearest:
            edges[j] = math.exp(-d / (2 * sigma))
        total = sum(map(math.exp, edges))
        rows.append([math.exp(edge) / total for edge in edges])
    return rows


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(1, 9), st.floats(0.2, 3), st.integers(0, 99))
def test_local_loss_is_its_definition(count, k, sigma, seed):
    """k above the number of other tokens is capped."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    teacher = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    q, p = slow_rows(student, k, sigma), slow_rows(teacher, k, sigma)
    expected = sum(a * math.log(a / b) for row, other in zip(q, p) for a, b in zip(row, other))
    loss = trg_local_loss(student, teacher, k=k, sigma=sigma, reduction='sum')
    assert loss.item() == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert trg_local_loss(student, teacher, k=k, sigma=sigma).item() == pytest.approx(expected / count, rel=1e-7, abs=1e-12)


def test_of_equally_near_tokens_the_first_is_the_neighbour():
    """Tokens 1, 2 and 3 are as far from token 0; the student's graph has an edge to 1, and the teacher's as well."""
    same = torch.tensor([[1., 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    expected = slow_rows(same, 1, 1.0)
    assert expected[0][1] > expected[0][2] == expected[0][3]
    near = same.clone()
    near[1] += 0.5 * same[0]
    q, p = slow_rows(near, 1, 1.0), expected
    value = sum(a * math.log(a / b) for row, other in zip(q, p) for a, b in zip(row, other)) / 4
    assert trg_local_loss(near, same, k=1).item() == pytest.approx(value, rel=1e-9)


def test_zero_at_the_teacher_and_no_gradient_into_it():
    student = torch.randn(6, 4, dtype=torch.float64)
    teacher = (3 * student).requires_grad_()
    assert trg_local_loss(student, teacher, k=2).abs() < 1e-12
    student = student.clone().requires_grad_()
    total = (trg_local_loss(student, teacher) + trg_global_loss(student, teacher)
             + trg_inner_loss(student[None], teacher[None]))
    total.backward()
    assert teacher.grad is None
    assert trg_inner_loss(teacher[None], teacher[None]) == 0


def test_global_loss_knows_no_scale_and_sums():
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    loss = trg_global_loss(student, teacher, temperature=0.3)
    torch.testing.assert_close(trg_global_loss(5 * student, 0.2 * teacher, temperature=0.3), loss)
    torch.testing.assert_close(trg_global_loss(student, teacher, temperature=0.3, reduction='sum'), 6 * loss)


def test_inner_loss_sees_the_images_apart_and_own_widths():
    student, teacher = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
    each = [trg_inner_loss(student[i:i + 1], teacher[i:i + 1]) for i in range(3)]
    torch.testing.assert_close(trg_inner_loss(student, teacher), torch.stack(each).mean())


def test_temperature():
    assert trg_temperature(0.0) == 1.0
    assert trg_temperature(1.0) == pytest.approx(0.1)
    assert trg_temperature(0.5, start=3.0, end=1.0) == 2.0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    student, teacher = (100 * torch.rand(2, 3, 4, 5) - 50).to(dtype)
    student.requires_grad_()
    total = sum(trg_loss(student, teacher, torch.arange(12), k=3).values())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(student.grad).all()


# ---- the class

def built(student, teacher, **options) -> TRG:
    distiller = TRG(student_layer='x', teacher_layer='y', **options)
    distiller.build(Shapes({'x': torch.Size(student)}, {'y': torch.Size(teacher)}))
    return distiller


@pytest.mark.parametrize(('student', 'teacher', 'options', 'grid', 'width'), [
    ((2, 17, 6), (2, 16, 8), {}, (4, 4), (6, 8)),
    ((2, 5, 6), (2, 8, 8, 8), {}, (2, 2), (6, 8)),
    ((2, 6, 8, 8), (2, 8, 4, 4), {'student_patch': 2}, (4, 4), (24, 8)),
    ((2, 3, 9, 6), (2, 17, 5), {'student_patch': 3}, (3, 2), (27, 5))])
def test_grids_that_differ(student, teacher, options, grid, width):
    distiller = built(student, teacher, **options)
    assert distiller.grid == grid
    assert (distiller.projector.in_features, distiller.projector.out_features) == width
    x, y = torch.randn(3, *student[1:], requires_grad=True), torch.randn(3, *teacher[1:])
    terms = distiller({'x': x}, {'y': y}, Batch(x), Progress())
    assert set(terms) == {'inner', 'local', 'global'}
    sum(terms.values()).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0


def test_patches_are_cut_in_order():
    """A patch of two pixels a side, channel by channel, lies where the map has it."""
    distiller = built((2, 1, 4, 4), (2, 4, 2, 2), student_patch=2)
    tokens = distiller._tokens(torch.arange(16.).view(1, 1, 4, 4), 'student', 2)
    assert tokens[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_the_same_random_tokens_of_each_image(monkeypatch):
    """Own features, numbered by their places, show which were chosen for the graph."""
    distiller = built((2, 9, 2), (2, 9, 2), tokens_per_image=4)
    seen = {}
    monkeypatch.setattr('zoo.distillers.vit.trg.trg_local_loss', lambda s, t, **_: seen.update(s=s, t=t) or s.sum())
    places = torch.arange(27.).view(3, 9, 1).expand(-1, -1, 2)
    distiller({'x': places}, {'y': places + 100}, Batch(places), Progress())
    assert torch.equal(seen['t'], seen['s'] + 100)
    chosen = seen['s'][:, 0].view(3, 4)
    for image, row in enumerate(chosen.tolist()):
        assert len(set(row)) == 4
        assert all(9 * image <= place < 9 * image + 9 for place in row)


def test_temperature_falls_over_the_run():
    distiller = built((2, 9, 4), (2, 9, 4), start_temperature=10.0, end_temperature=0.1, tokens_per_image=9)
    x, y = torch.randn(2, 2, 9, 4)
    early, late = (distiller({'x': x}, {'y': y}, Batch(x), Progress(iteration=i, iterations=100))['global'] for i in (0, 99))
    # nearly uniform at first: the logarithm of the number of tokens
    assert early.item() == pytest.approx(math.log(18), abs=0.05)
    assert late > early + 0.5


def test_one_image_with_one_token():
    distiller = built((1, 4, 1, 1), (1, 6, 1, 1))
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    terms = distiller({'x': x}, {'y': torch.randn(1, 6, 1, 1)}, Batch(x), Progress())
    assert all(term.abs() < 1e-6 and term.requires_grad for term in terms.values())


def test_learns():
    torch.manual_seed(0)
    distiller = built((4, 9, 4), (4, 9, 6), local_weight=100.0)
    x, y = torch.randn(4, 9, 4, requires_grad=True), torch.randn(4, 9, 6)
    optimizer, losses = torch.optim.Adam([x, *distiller.parameters()], lr=0.03), []
    for _ in range(40):
        torch.manual_seed(1)
        loss = sum(distiller({'x': x}, {'y': y}, Batch(x), Progress()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_bad_input():
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        TRG(reduction='none')
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        trg_local_loss(torch.randn(3, 2), torch.randn(3, 2), reduction='none')
    with pytest.raises(ValueError, match='above 0'):
        TRG(sigma=0.0)
    with pytest.raises(ValueError, match='same tokens'):
        trg_local_loss(torch.randn(3, 2), torch.randn(4, 2))
    with pytest.raises(ValueError, match='project the student'):
        trg_global_loss(torch.randn(3, 2), torch.randn(3, 4))
    with pytest.raises(ValueError, match='as many tokens'):
        trg_inner_loss(torch.randn(1, 3, 2), torch.randn(1, 4, 2))
    with pytest.raises(ValueError, match='patches of 5 pixels'):
        built((2, 4, 4, 4), (2, 4, 4, 4), student_patch=5)
    with pytest.raises(ValueError, match="'x' is neither"):
        built((2, 4), (2, 4, 4, 4))
