"""Properties, closed forms and errors of the pure functions in zoo.metrics."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import metrics as m

quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2 ** 31)


def draw(seed, *shape, scale=2.0, dtype=torch.float64):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw_labels(seed, n, k):
    return torch.randint(k, (n,), generator=torch.Generator().manual_seed(seed + 1))


# --- accuracy

def test_accuracy_by_hand():
    logits = torch.tensor([[3., 2, 1], [1, 3, 2], [1, 2, 3], [3, 2, 1]])
    labels = torch.tensor([0, 2, 2, 2])
    assert m.accuracy(logits, labels, topk=(1, 2, 5)) == {'top1': 50.0, 'top2': 75.0, 'top5': 100.0}


@quick
@given(seeds, st.integers(1, 20), st.integers(1, 8))
def test_top_k_grows_with_k_and_is_whole_at_K(seed, n, k):
    logits, labels = draw(seed, n, k), draw_labels(seed, n, k)
    values = list(m.accuracy(logits, labels, topk=range(1, k + 1)).values())
    assert values == sorted(values) and values[-1] == 100


@pytest.mark.parametrize(('logits', 'labels', 'k', 'error'), [
    (torch.zeros(0, 3), torch.zeros(0).long(), 1, ValueError),
    (torch.zeros(2, 3), torch.zeros(2).long(), 0, ValueError),
    (torch.zeros(2, 3).long(), torch.zeros(2).long(), 1, TypeError), (torch.zeros(2, 3), torch.zeros(2), 1, TypeError)])
def test_accuracy_errors(logits, labels, k, error):
    with pytest.raises(error):
        m.topk_correct(logits, labels, k)


# --- calibration

@pytest.mark.parametrize('num_bins', [2, 5, 10])
def test_perfectly_calibrated_predictions_have_no_error(num_bins):
    # of 10 samples at confidence c / 10, c are right
    confidence, correct = [], []
    for c in range(1, 11):
        confidence += [c / 10] * 10
        correct += [1] * c + [0] * (10 - c)
    error = m.calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct), num_bins=num_bins)
    assert error.item() == pytest.approx(0, abs=1e-12)


def test_calibrated_logits_have_no_error():
    # binary logits whose softmax is (0.75, 0.25); three of four right
    logits = torch.tensor([[math.log(3.0), 0.0]] * 4, dtype=torch.float64)
    assert m.expected_calibration_error(logits, torch.tensor([0, 0, 0, 1])).item() == pytest.approx(0, abs=1e-12)
    assert m.expected_calibration_error(logits, torch.tensor([0, 0, 0, 0])).item() == pytest.approx(0.25)


def test_confident_and_wrong_is_error_one():
    logits = torch.tensor([[100.0, 0.0]] * 3)
    assert m.expected_calibration_error(logits, torch.ones(3).long()).item() == pytest.approx(1)


def test_upper_edge_belongs_to_the_bin():
    # 0.5 and 0.4 share the lower of two bins, where their errors cancel in part; closed below would give 1.3 / 3
    confidence, correct = torch.tensor([0.5, 0.4, 0.6]), torch.tensor([1., 0., 1.])
    assert m.calibration_error(confidence, correct, num_bins=2).item() == pytest.approx((0.1 + 0.4) / 3)


@quick
@given(seeds, st.integers(1, 50), st.integers(2, 6), st.integers(1, 20))
def test_calibration_error_lies_in_0_1_and_ignores_order(seed, n, k, bins):
    logits, labels = draw(seed, n, k), draw_labels(seed, n, k)
    error = m.expected_calibration_error(logits, labels, num_bins=bins)
    assert 0 <= error <= 1
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(error, m.expected_calibration_error(logits[order], labels[order], num_bins=bins))
    # one bin: |accuracy - mean confidence|, the least that any binning gives
    one = m.expected_calibration_error(logits, labels, num_bins=1)
    gap = (logits.argmax(-1) == labels).double().mean() - logits.softmax(-1).amax(-1).mean()
    assert torch.allclose(one, gap.abs()) and one <= error + 1e-12


@quick
@given(seeds, st.integers(2, 40), st.integers(2, 6))
def test_calibration_error_agrees_with_torchmetrics_off_the_edges(seed, n, k):
    functional = pytest.importorskip('torchmetrics.functional.classification')
    logits, labels = draw(seed, n, k, dtype=torch.float32), draw_labels(seed, n, k)
    want = functional.multiclass_calibration_error(logits.softmax(-1), labels, num_classes=k, n_bins=10, norm='l1')
    assert torch.allclose(m.expected_calibration_error(logits, labels, num_bins=10), want, atol=1e-6)


def test_calibration_errors():
    with pytest.raises(ValueError, match='num_bins'):
        m.calibration_error(torch.ones(2), torch.ones(2), num_bins=0)
    with pytest.raises(ValueError, match='same N'):
        m.calibration_error(torch.ones(2), torch.ones(3))


def test_negative_log_likelihood_is_of_the_label_and_stable_in_half():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float16)
    rows = m.negative_log_likelihood(logits, torch.tensor([1, 0]), reduction='none')
    assert rows.dtype == torch.float32
    assert rows.tolist() == pytest.approx([2 + math.log1p(math.exp(-2)), math.log(2)], rel=1e-6)


def test_aurc_by_hand_and_bounds():
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    # right, right, wrong, right: risks from one to all samples 0, 0, 1/3, 1/4
    want = (0 + 1 / 6 + (1 / 3 + 1 / 4) / 2) / 4
    labels = torch.tensor([0, 0, 1, 0])
    assert m.aurc(probabilities, labels).item() == pytest.approx(want)
    # the same from logits
    assert m.aurc(probabilities.log() + 3, labels).item() == pytest.approx(want)
    assert m.aurc(probabilities, torch.zeros(4).long()).item() == 0


def test_aurc_ranks_better_confidence_lower():
    logits = torch.tensor([[3., 0], [2., 0], [1., 0]])
    assert m.aurc(logits, torch.tensor([0, 0, 1])) < m.aurc(logits, torch.tensor([1, 0, 0]))


def test_ece_with_upper_edges_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 0, 1])
    # two groups, the larger first: (0.55 wrong, 0.6 right, 0.7 right), (0.8 wrong, 0.9 right)
    want = 3 / 5 * abs(2 / 3 - 0.7) + 2 / 5 * abs(1 / 2 - 0.9)
    assert m.ece(probabilities, labels, n_bins=2).item() == pytest.approx(want)
    # (0.5, 1] holds all
    assert m.ece(probabilities, labels, n_bins=2, scheme='equal-range').item() == pytest.approx(abs(3 / 5 - 1))
    with pytest.raises(ValueError, match='scheme'):
        m.ece(probabilities, labels, scheme='equal')


@quick
@given(seeds, st.integers(2, 30), st.integers(2, 5), st.integers(1, 40))
def test_ece_equal_mass_against_groups(seed, n, k, n_bins):
    logits, labels = draw(seed, n, k), draw_labels(seed, n, k)
    confidence, guess = logits.softmax(-1).max(-1)
    order = confidence.argsort()
    groups = torch.tensor_split(order, min(n - 1, n_bins))
    want = sum(len(g) / n * abs((guess[g] == labels[g]).double().mean() - confidence[g].max()) for g in groups)
    assert torch.allclose(m.ece(logits, labels, n_bins=n_bins), want)


# --- fidelity

@quick
@given(seeds, st.integers(1, 20), st.integers(1, 6))
def test_agreement_is_symmetric_and_whole_with_itself(seed, n, k):
    a, b = draw(seed, n, k), draw(seed + 1, n, k)
    assert m.agreement(a, b) == m.agreement(b, a) and 0 <= m.agreement(a, b) <= 1
    assert m.agreement(a, a) == 1
    # any increasing map of the logits leaves it
    assert m.agreement(a, b) == m.agreement(3 * a - 1, b.exp())


@quick
@given(seeds, st.integers(1, 12), st.integers(2, 6))
def test_predictive_kl_is_positive_zero_on_itself_and_shift_free(seed, n, k):
    a, b = draw(seed, n, k), draw(seed + 1, n, k)
    assert m.predictive_kl(a, b) >= 0 and m.predictive_kl(a, a + 5).abs() < 1e-12
    p, q = b.softmax(-1), a.softmax(-1)
    assert torch.allclose(m.predictive_kl(a, b), (p * (p / q).log()).sum(-1).mean())


def test_predictive_kl_where_the_teacher_is_certain():
    teacher = torch.tensor([[0.0, -torch.inf]])
    assert m.predictive_kl(torch.zeros(1, 2), teacher).item() == pytest.approx(math.log(2))
    assert m.predictive_kl(teacher, teacher).item() == 0
    assert m.predictive_kl(teacher, torch.zeros(1, 2)).item() == math.inf
    assert m.predictive_kl(torch.zeros(1, 2), torch.full((1, 2), torch.nan)).isnan()


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))
def test_ensemble_is_the_mean_probability(seed, n, members, k):
    logits = draw(seed, n, members, k)
    assert torch.allclose(m.ensemble_logits(logits).exp(), logits.softmax(-1).mean(1))


def test_ensemble_teacher_is_reduced_first():
    student, teacher = draw(0, 6, 5), draw(1, 6, 3, 5)
    assert torch.allclose(m.predictive_kl(student, teacher), m.predictive_kl(student, m.ensemble_logits(teacher)))
    assert m.agreement(student, teacher) == m.agreement(student, m.ensemble_logits(teacher))


def test_topk_agreement_grows_to_one():
    student, teacher = draw(0, 30, 5), draw(1, 30, 5)
    shares = [m.topk_agreement(student, teacher, k=k).mean().item() for k in range(1, 6)]
    assert shares == sorted(shares) and shares[-1] == 1 and shares[0] == m.agreement(student, teacher).item()


def test_sharpness_gap_of_a_shift_is_the_shift():
    logits = draw(0, 7, 9)
    assert m.sharpness_gap(logits, logits + 1.5).item() == pytest.approx(1.5)


def test_teacher_stddev_by_hand():
    # mean probabilities of the two subsets: (0.5, 0.5) and (0.75, 0.25); their deviation is 0.25 / sqrt 2
    logits = torch.tensor([[[0., 0.]], [[math.log(3), 0.]]], dtype=torch.float64)
    assert m.teacher_stddev(logits).item() == pytest.approx(0.25 / math.sqrt(2))


@pytest.mark.parametrize('call', [
    lambda: m.agreement(torch.zeros(2, 3), torch.zeros(2, 4)), lambda: m.ensemble_logits(torch.zeros(2, 3)),
    lambda: m.predictive_kl(torch.zeros(2, 3), torch.zeros(3, 3)), lambda: m.teacher_stddev(torch.zeros(1, 2, 3)),
    lambda: m.predictive_kl(torch.zeros(2, 3), torch.zeros(2, 3), reduction='sum'),
    lambda: m.topk_agreement(torch.zeros(2, 3), torch.zeros(2, 3), k=0)])
def test_fidelity_errors(call):
    with pytest.raises(ValueError):
        call()


# --- similarity

@quick
@given(seeds, st.integers(4, 10), st.integers(2, 9), st.integers(2, 9), st.booleans())
def test_cka_is_symmetric_and_free_of_rotation_and_scale(seed, n, d1, d2, unbiased):
    x, y = draw(seed, n, d1), draw(seed + 1, n, d2)
    value = m.linear_cka(x, y, unbiased=unbiased)
    rotation = torch.linalg.qr(draw(seed + 2, d1, d1)).Q
    assert torch.allclose(value, m.linear_cka(y, x, unbiased=unbiased), equal_nan=True)
    assert torch.allclose(value, m.linear_cka(-3 * x @ rotation, y, unbiased=unbiased), atol=1e-6, equal_nan=True)
    if not unbiased:
        assert -1e-9 <= value <= 1 + 1e-9
        assert torch.allclose(m.linear_cka(x, x + 7), torch.ones((), dtype=x.dtype))


@pytest.mark.parametrize('n', [5, 40])
def test_feature_form_equals_gram_form(n):
    x, y = draw(0, n, 6), draw(1, n, 8)
    centring = torch.eye(n, dtype=x.dtype) - 1 / n
    k, g = centring @ x @ x.T @ centring, centring @ y @ y.T @ centring
    assert torch.allclose(m.linear_cka(x, y), (k * g).sum() / (k.norm() * g.norm()))


def test_maps_are_flattened_and_half_is_raised():
    x = draw(0, 6, 3, 4, 4)
    assert torch.allclose(m.linear_cka(x, x.flatten(1)), torch.ones((), dtype=x.dtype))
    assert m.linear_cka(x.half(), x.half()).dtype == torch.float32


def test_unbiased_estimate_is_near_zero_for_unrelated_wide_features():
    x, y = draw(0, 40, 400), draw(1, 40, 400)
    assert m.linear_cka(x, y) > 0.8
    assert m.linear_cka(x, y, unbiased=True).abs() < 0.1


def test_minibatch_of_one_batch_is_unbiased_cka():
    x, y = draw(0, 8, 5), draw(1, 8, 3)
    assert torch.allclose(m.minibatch_cka([x], [y]), m.linear_cka(x, y, unbiased=True))


def test_unbiased_hsic_by_its_definition():
    """Against the sum over ordered tuples of different images (Song et al., JMLR 2012, the estimate's definition)."""
    import itertools
    x, y = draw(0, 5, 2), draw(1, 5, 3)
    k, g = x @ x.T, y @ y.T
    tuples = list(itertools.permutations(range(5), 4))
    want = sum(k[i, j] * (g[i, j] + g[q, r] - 2 * g[i, q]) for i, j, q, r in tuples) / len(tuples)
    assert torch.allclose(m.unbiased_hsic(k, g), want)


def test_preact_cka_of_itself_is_one_and_uses_the_middle_of_even_counts():
    feat = draw(0, 5, 2, 3, 4)
    assert torch.allclose(m.preact_cka(feat, feat), torch.ones((), dtype=feat.dtype))
    assert 0 <= m.preact_cka(feat, draw(1, 5, 4, 4, 4)) <= 1


@pytest.mark.parametrize('call', [
    lambda: m.linear_cka(torch.zeros(3, 2), torch.zeros(4, 2)), lambda: m.linear_cka(torch.zeros(3), torch.zeros(3)),
    lambda: m.linear_cka(torch.ones(3, 2), torch.ones(3, 2), unbiased=True), lambda: m.minibatch_cka([], []),
    lambda: m.minibatch_cka([torch.ones(4, 2)], []),
    lambda: m.preact_cka(torch.ones(2, 3, 3, 4), torch.zeros(2, 3, 3, 5)),
    lambda: m.preact_cka(torch.ones(2, 3, 3, 4), torch.ones(2, 3, 3, 4))])
def test_similarity_errors(call):
    with pytest.raises(ValueError):
        call()


# --- leakage

def test_leakage_by_hand():
    assert m.leakage_transfer(60.0, 50.0, 90.0, 70.0).item() == pytest.approx(0.5)
    assert m.leakage_transfer(60.0, 50.0, 70.0, 70.0).isnan()
    assert m.contamination_rate(torch.tensor([1, 2, 3]), torch.tensor([3, 3, 9, 8])).item() == 0.5
    assert m.attack_success_rate(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 2]), target=0).item() == \
        pytest.approx(2 / 3)
    # the threshold itself counts
    assert m.reidentification_ratio(torch.tensor([[0.1, 0.9], [0.2, 0.3]]), threshold=0.9).item() == 0.5
    tail = torch.cat([torch.full((999,), 1.0), torch.tensor([1e-9])])
    assert m.shuffle_tail_ratio(tail).item() == pytest.approx(1 / 1000)
    assert m.shuffle_tail_ratio(torch.ones(10)).item() == 0


@pytest.mark.parametrize('call', [
    lambda: m.contamination_rate(torch.tensor([1]), torch.tensor([]).long()),
    lambda: m.attack_success_rate(torch.zeros(2).long(), torch.zeros(3).long(), target=0),
    lambda: m.reidentification_ratio(torch.zeros(3), threshold=0.5), lambda: m.shuffle_tail_ratio(torch.zeros(0))])
def test_leakage_errors(call):
    with pytest.raises(ValueError):
        call()


# --- generation

def test_frechet_distance_closed_forms():
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    assert m.frechet_distance(zero, eye, zero, eye).item() == pytest.approx(0, abs=1e-9)
    # diagonal: sum of squared differences of means and of standard deviations
    assert m.frechet_distance(zero, 4 * eye, zero + 1, 9 * eye).item() == pytest.approx(3 * (1 + 1))


def test_feature_statistics_against_numpy():
    import numpy as np
    features = draw(0, 20, 4)
    stats = m.feature_statistics(features.float())
    np.testing.assert_allclose(stats['sigma'], np.cov(features.float().double().numpy(), rowvar=False))
    assert stats['mu'].dtype == torch.float64 and m.feature_statistics(features[:, :1])['sigma'].shape == (1, 1)


def test_precision_recall_of_equal_and_of_distant_sets():
    real = draw(0, 30, 3)
    same = m.precision_recall(real, real)
    assert same['precision'] == 1 and same['recall'] == 1
    far = m.precision_recall(real, real + 100)
    assert far['precision'] == 0 and far['recall'] == 0
    # one mode of two: precise, not complete
    both = torch.cat([real, real + 100])
    part = m.precision_recall(both, real)
    assert part['precision'] == 1 and part['recall'] == 0.5


@pytest.mark.parametrize('call', [
    lambda: m.feature_statistics(torch.zeros(1, 3)), lambda: m.precision_recall(torch.zeros(3, 2), torch.zeros(9, 2)),
    lambda: m.precision_recall(torch.zeros(9, 2), torch.zeros(9, 3)),
    lambda: m.frechet_distance(torch.zeros(2), torch.eye(3), torch.zeros(2), torch.eye(2))])
def test_generation_errors(call):
    with pytest.raises(ValueError):
        call()


# --- two heads, knowledge points, audits

def test_dual_head_ends_and_search():
    ce, kd, labels = draw(0, 30, 4), draw(1, 30, 4), draw_labels(0, 30, 4)
    assert torch.allclose(m.dho_predict(ce, kd, alpha=1.0), ce.softmax(-1))
    assert torch.allclose(m.dho_predict(ce, kd, alpha=0.0, beta=2.0), (kd / 2).softmax(-1))
    # a perfect label head: the first alpha that gets all right
    perfect = 50 * torch.nn.functional.one_hot(labels, 4).double()
    best = m.dho_search(perfect, kd, labels)
    assert best['accuracy'] == 100 and best['beta'] == 0.5 and 0 < best['alpha'] <= 1
    assert m.dho_search(ce, kd, labels, alphas=[0.3], betas=[2.0])['alpha'] == 0.3
    with pytest.raises(ValueError, match='alpha'):
        m.dho_predict(ce, kd, alpha=1.5)


def test_sigma_noise_clamps_its_argument_and_reaches_it_by_gradient():
    sigma = torch.tensor([[0.0, 0.5], [2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    got = m.sigma_noise(torch.zeros(1, 3, 4, 4).double(), sigma, torch.ones(2, 3, 4, 4).double())
    assert sigma.detach().flatten().tolist() == pytest.approx([0.001, 0.5, 1, 0.1])
    assert got['images'][0, 0, :, 0].tolist() == pytest.approx([0.001, 0.001, 1, 1])
    got['entropy'].backward()
    assert torch.allclose(sigma.grad, 1 / (4 * sigma.detach()))


def test_knowledge_points_by_hand():
    # one image, two checkpoints, 1 x 3 cells: foreground, foreground, background
    sigmas = torch.tensor([[[[0.01, 1.0, 1.0]], [[0.01, 0.5, 1.0]]]], dtype=torch.float64)
    got = m.knowledge_point_metrics(sigmas, torch.tensor([[True, True, False]]), torch.tensor([0.25, 0.5]).double())
    assert got['num_foreground'].tolist() == [2] and got['num_background'].tolist() == [0]
    assert got['ratio'] == 1 and got['rho'] == 1 and got['d_mean'] == 0.75 and got['d_std'] == 0
    # of equal counts the first checkpoint is meant
    first = m.knowledge_point_metrics(sigmas[:, [0, 0]], torch.tensor([[1, 1, 0]]), torch.tensor([0.25, 0.5]).double())
    assert first['d_mean'] == 0.25
    with pytest.raises(ValueError, match='background'):
        m.knowledge_point_metrics(sigmas, torch.ones(1, 3).bool(), torch.zeros(2).double())


def test_audit_by_hand_and_errors():
    centred = m.center_shape(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([1, 3, 0]))
    assert centred.tolist() == [-1.5, 0.5, 6.5]
    same = m.shape_difference(torch.ones(4, 2), torch.zeros(4, 2))
    assert same['significant'].tolist() == [1, 1] and same['lower'].tolist() == [1, 1]
    a = draw(0, 30)
    got = m.residual_correlation(a, torch.zeros(30), 2 * a, torch.zeros(30))
    assert got['pearson'].item() == pytest.approx(1) and got['spearman_p'] < 1e-6
    for call in (lambda: m.center_shape(torch.ones(2), torch.zeros(2)),
                 lambda: m.shape_difference(torch.ones(1, 2), torch.ones(1, 2)),
                 lambda: m.residual_correlation(a, a, a, a[:5])):
        with pytest.raises(ValueError):
            call()
