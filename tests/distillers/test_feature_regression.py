from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import (
    Batch,
    FeatureRegression,
    Progress,
    Shapes,
    cosine_feature_loss,
    smooth_l1_feature_loss,
    vfm_feature_loss,
)

SHAPES = [(2, 6), (2, 10, 5), (2, 5, 4, 3)]  # a vector, nine patch tokens and a class token, a map


def training_set(feats):
    batches = [(dict(final_map=feat), None) for feat in feats]
    return SimpleNamespace(teacher_outputs=lambda names, augment=False: iter(batches),
                           cached=lambda key, compute: compute())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10), shape=st.sampled_from(SHAPES))
def test_cosines(seed, scale, shape):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    for reduction in ('sample', 'token'):
        loss = cosine_feature_loss(student, teacher, reduction=reduction)
        torch.testing.assert_close(cosine_feature_loss(student * scale, teacher, reduction=reduction), loss)
        assert abs(cosine_feature_loss(teacher * scale, teacher, reduction=reduction)) < 1e-9 < loss <= 2
    vectors = [x.movedim(1, -1) if x.dim() == 4 else x for x in (student, teacher)]
    expected = torch.stack([1 - F.cosine_similarity(s, t, dim=0) for s, t in
                            zip(*(v.reshape(-1, v.shape[-1]) for v in vectors))]).mean()
    torch.testing.assert_close(cosine_feature_loss(student, teacher, reduction='token'), expected)


def test_smooth_l1_with_another_threshold():
    student, teacher = torch.tensor([[0.1, 3.0]]), torch.zeros(1, 2)
    expected = torch.tensor((0.1**2 / (2 * 0.5) + (3 - 0.25)) / 2)
    torch.testing.assert_close(smooth_l1_feature_loss(student, teacher, beta=0.5), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    x = torch.full((2, 1024), 50.0, dtype=dtype)
    loss = vfm_feature_loss([x], [-x])
    assert loss.isfinite() and loss.dtype == torch.float32


def test_statistics_of_the_training_set():
    generator = torch.Generator().manual_seed(0)
    feats = [torch.randn(n, 5, 3, 4, generator=generator) * 3 + 100 for n in (4, 1, 3)]
    distiller = FeatureRegression()
    distiller.build(Shapes({'final_map': torch.Size((2, 4, 3, 4))}, {'final_map': torch.Size((2, 5, 3, 4))}))
    distiller.prepare(training_set(feats))
    rows = torch.cat(feats).movedim(1, -1).reshape(-1, 5)
    torch.testing.assert_close(distiller.teacher_mean, rows.mean(0))
    torch.testing.assert_close(distiller.teacher_std, rows.std(0))
    other = FeatureRegression()
    other.build(Shapes({'final_map': torch.Size((2, 4, 3, 4))}, {'final_map': torch.Size((2, 5, 3, 4))}))
    other.load_state_dict(distiller.state_dict())
    assert torch.equal(other.teacher_std, distiller.teacher_std)


@pytest.mark.parametrize('teacher_shape', SHAPES)
@pytest.mark.parametrize('student_shape', [(2, 3, 7, 7), (2, 17, 4), (2, 8)])
def test_between_maps_tokens_and_vectors(student_shape, teacher_shape):
    torch.manual_seed(0)
    distiller = FeatureRegression(reduction='token', connector='MLP')
    distiller.build(Shapes({'final_map': torch.Size(student_shape)}, {'final_map': torch.Size(teacher_shape)}))
    student = torch.randn(4, *student_shape[1:], requires_grad=True)
    teacher = torch.randn(4, *teacher_shape[1:]) * 5 + 2
    distiller.prepare(training_set([teacher]))
    optimizer = torch.optim.SGD([student, *distiller.param_groups()[0]['params']], lr=0.5, momentum=0.9)
    losses = []
    for _ in range(10):
        terms = distiller({'final_map': student}, {'final_map': teacher}, Batch(torch.zeros(4, 3, 8, 8)), Progress())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(terms.values()).item())
    assert losses[-1] < 0.97 * losses[0]


def test_terms_equal_theias_loss_on_normalised_targets():
    torch.manual_seed(0)
    distiller = FeatureRegression()
    student, teacher = torch.randn(3, 5, 2, 2), torch.randn(3, 5, 2, 2) * 4 - 1
    distiller.build(Shapes({'final_map': student.shape}, {'final_map': teacher.shape}))
    distiller.prepare(training_set([teacher]))
    terms = distiller({'final_map': student}, {'final_map': teacher}, Batch(student), Progress())
    rows = teacher.movedim(1, -1).reshape(-1, 5)
    target = (teacher - rows.mean(0)[:, None, None]) / rows.std(0)[:, None, None]
    torch.testing.assert_close(sum(terms.values()), vfm_feature_loss([distiller.connector(student)], [target]))
    raw = FeatureRegression(normalize=False, connector='Identity')
    raw.build(Shapes({'final_map': student.shape}, {'final_map': teacher.shape}))
    raw.prepare(None)
    assert sum(raw({'final_map': teacher}, {'final_map': teacher}, Batch(student), Progress()).values()) < 1e-6


def test_bad_input():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match='reduction'):
        cosine_feature_loss(x, x, reduction='mean')
    with pytest.raises(ValueError, match='reduction'):
        FeatureRegression(reduction='mean')
    with pytest.raises(ValueError, match='one shape'):
        smooth_l1_feature_loss(x, x[:, :2])
    with pytest.raises(ValueError, match='each teacher'):
        vfm_feature_loss([], [])
    with pytest.raises(ValueError, match='is a list'):
        FeatureRegression(student_feat='stages').build(Shapes({'stages': []}, {'final_map': torch.Size((2, 3))}))
    distiller = FeatureRegression()
    distiller.build(Shapes({'final_map': torch.Size((2, 3))}, {'final_map': torch.Size((2, 3))}))
    with pytest.raises(ValueError, match='normalize=False'):
        distiller.prepare(training_set([torch.zeros(1, 3)]))


def test_lists_pair_level_by_level():
    """As each level alone, statistics too; batches may have another size than the dry run."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = ([torch.randn(3, c, s, s + 1, generator=generator) for s in (4, 2)] for c in (3, 5))
    whole = FeatureRegression(student_feat='neck', teacher_feat='neck')
    whole.build(Shapes({'neck': [torch.Size((1, 3, 6, 6)), torch.Size((1, 3, 3, 3))]},
                       {'neck': [torch.Size((1, 5, 6, 6)), torch.Size((1, 5, 3, 3))]}))
    whole.prepare(SimpleNamespace(teacher_outputs=lambda names, augment=False: iter([(dict(neck=teacher), None)]),
                                  cached=lambda key, compute: compute()))
    got = whole({'neck': student}, {'neck': teacher}, Batch(student[0]), Progress())
    singles = []
    for level in range(2):
        single = FeatureRegression()
        single.build(Shapes({'final_map': student[level].shape}, {'final_map': teacher[level].shape}))
        single.connector.load_state_dict(whole.connector[level].state_dict())
        single.prepare(training_set([teacher[level]]))
        singles.append(single({'final_map': student[level]}, {'final_map': teacher[level]}, Batch(student[0]), Progress()))
    for name, value in got.items():
        torch.testing.assert_close(value, (singles[0][name] + singles[1][name]) / 2)
    with pytest.raises(ValueError, match='a list of 2.*one tensor'):
        FeatureRegression(student_feat='neck').build(Shapes({'neck': [torch.Size((1, 3, 6, 6))] * 2},
                                                            {'final_map': torch.Size((2, 3))}))
