"""Connectors: any layout to any layout."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.connectors import connect, prefix_tokens

channels, side = st.integers(1, 6), st.integers(2, 6)
shapes = st.one_of(
    st.tuples(st.just(2), channels), st.tuples(st.just(2), channels, side, side),
    st.tuples(st.just(2), st.tuples(side, st.sampled_from([0, 1])).map(lambda s: s[0]**2 + s[1]), channels))


@given(shapes, shapes, st.sampled_from(['Projection', 'MLP', 'auto']))
@settings(max_examples=80, deadline=None)
def test_output_has_the_teachers_shape_and_gradients_flow(student, teacher, kind):
    connector = connect(student, teacher, kind)
    x = torch.randn(student, requires_grad=True)
    y = connector(x)
    assert y.shape == teacher
    y.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


@given(side, st.integers(0, 3))
def test_prefix_tokens(grid, prefix):
    if prefix < 2 * grid + 1:
        assert prefix_tokens(grid**2 + prefix) == prefix


def test_identity_keeps_values():
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(connect(x.shape, x.shape, 'auto')(x), x)
    tokens = connect((2, 3, 4, 4), (2, 17, 3), 'auto')(x)
    assert torch.equal(tokens[:, 1:].transpose(1, 2).reshape(x.shape), x)
    torch.testing.assert_close(tokens[:, 0], x.mean((2, 3)))
    assert math.isclose(connect((2, 5), (2, 5), 'auto')(torch.ones(2, 5)).sum().item(), 10)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match='Identity cannot join 3 to 4 channels'):
        connect((2, 3, 4, 4), (2, 4, 4, 4), 'Identity')
    with pytest.raises(ValueError, match=r'not \(2,\)'):
        connect((2,), (2, 3), 'Projection')
