import math

import pytest
import torch

from zoo.distillers import FGD, Batch, FGDLoss, Progress, Shapes, foreground_mask


def test_mask_against_loops():
    boxes = torch.tensor([[3.0, 5, 20, 31], [0, 0, 9.5, 8], [30, 40, 64, 48]], dtype=torch.float64)
    height, width, shape = 6, 9, torch.tensor([48, 64])
    expected = torch.zeros(height, width, dtype=torch.float64)
    for x1, y1, x2, y2 in boxes.tolist():
        left, right = math.floor(x1 / 64 * width), math.ceil(x2 / 64 * width)
        top, bottom = math.floor(y1 / 48 * height), math.ceil(y2 / 48 * height)
        for row in range(top, min(bottom, height - 1) + 1):
            for column in range(left, min(right, width - 1) + 1):
                value = 1 / ((bottom + 1 - top) * (right + 1 - left))
                expected[row, column] = max(expected[row, column], value)
    torch.testing.assert_close(foreground_mask(boxes, shape, (height, width)), expected)
    torch.testing.assert_close(foreground_mask(boxes.flip(0), shape, (height, width)), expected)
    assert not foreground_mask(boxes[:0], shape, (height, width)).any()


def test_terms_at_the_start():
    """Both context additions start at zero; without boxes everything is background."""
    torch.manual_seed(0)
    module = FGDLoss(4, 4, alpha=1.0, beta=1.0, gamma=1.0, lambda_=1.0)
    student, teacher = torch.randn(2, 2, 4, 5, 6)
    shapes = torch.tensor([[40, 48]] * 2)
    terms = module(student, teacher, [torch.zeros(0, 4)] * 2, shapes)
    assert terms['fg'] == 0
    torch.testing.assert_close(terms['relation'], (student - teacher).square().sum() / 2)
    attention = 30 * (teacher.abs().mean(1).flatten(1) / 0.5).softmax(1).reshape(2, 1, 5, 6)
    channel = 4 * (teacher.abs().mean((2, 3)) / 0.5).softmax(1)[..., None, None]
    torch.testing.assert_close(terms['bg'], ((student - teacher).square() * attention * channel).sum() / 30 / 2)
    same = module(teacher, teacher, [torch.tensor([[0.0, 0, 20, 20]])] * 2, shapes)
    assert all(value.abs() < 1e-6 for value in same.values())


def test_only_the_teachers_map_is_detached():
    torch.manual_seed(0)
    module = FGDLoss(3, 4)
    with torch.no_grad():
        for add in (module.channel_add_s, module.channel_add_t):
            add[3].weight.normal_()
    student, teacher = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randn(1, 4, 4, 4, requires_grad=True)
    sum(module(student, teacher, [torch.tensor([[0.0, 0, 8, 8]])], torch.tensor([[16, 16]])).values()).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert module.context_mask_t.weight.grad.abs().sum() > 0


def test_half_precision_and_bad_input():
    x = torch.full((1, 4, 4, 4), 50.0, dtype=torch.float16)
    terms = FGDLoss(4, 4)(x, -x, [torch.tensor([[0.0, 0, 8, 8]])], torch.tensor([[16, 16]]))
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())
    with pytest.raises(ValueError, match='one size'):
        FGDLoss(4, 4)(x, x[..., :2], [torch.zeros(0, 4)], torch.tensor([[16, 16]]))
    distiller = FGD()
    distiller.build(Shapes({'neck': [x.shape]}, {'neck': [x.shape]}))
    with pytest.raises(ValueError, match='labelled boxes'):
        distiller({'neck': [x]}, {'neck': [x]}, Batch(x), Progress())
