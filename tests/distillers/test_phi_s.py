"""PHI-S: Hadamard matrices, standardisation and its reverse, several teachers."""
import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.conftest import ROOT, TINY, tiny_config
from zoo.data import collate_batch
from zoo.distillers import (
    hadamard_matrix,
    phi_s_apply,
    phi_s_fit,
    phi_s_invert,
    phi_s_matrix,
    radio_spatial_loss,
    radio_summary_loss,
)
from zoo.distillers.vit.phi_s import _Moments
from zoo.engine import RunnerTrainingSet
from zoo.models import MLP2
from zoo.registry import DATASETS, MODELS

quick = settings(deadline=None, max_examples=30)
VIT = dict(type='TimmModel', model_name='vit_tiny_patch16_224', img_size=8, patch_size=2, depth=1, embed_dim=8, num_heads=2)


# ---- standardisation

@pytest.mark.parametrize('dim', [1, 2, 4, 8, 12, 20, 24, 28, 36, 48, 60, 64, 96, 144, 192, 384, 768, 1152, 1408])
def test_hadamard_matrices(dim):
    matrix = hadamard_matrix(dim=dim)
    assert matrix.shape == (dim, dim) and matrix.dtype == torch.float64
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, dim**-0.5))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(dim, dtype=torch.float64))


@pytest.mark.parametrize('dim', [0, 3, 6, 10, 52, 92, 100])
def test_sizes_without_hadamard_matrix(dim):
    with pytest.raises(ValueError, match=str(dim)):
        hadamard_matrix(dim=dim)


def sample(count: int, channels: int, seed: int) -> torch.Tensor:
    """Correlated rows of very different variances and means."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-2, 2, channels, dtype=torch.float64)
    rows = torch.randn(count, channels, generator=generator, dtype=torch.float64)
    return rows * scales @ mixing + 10 * torch.randn(channels, generator=generator, dtype=torch.float64)


@quick
@given(channels=st.sampled_from([1, 2, 4, 8, 12, 20]), count=st.integers(30, 60), seed=st.integers(0, 999))
def test_fit_gives_unit_variances_and_is_isotropic(channels, count, seed):
    x = sample(count, channels, seed)
    fitted = phi_s_fit(x)
    y = phi_s_apply(x, fitted['mean'], fitted['matrix'])
    torch.testing.assert_close(y.mean(0), torch.zeros(channels, dtype=torch.float64), atol=1e-8, rtol=0)
    torch.testing.assert_close(y.var(0), torch.ones(channels, dtype=torch.float64), atol=1e-6, rtol=0)
    gram = fitted['matrix'].T @ fitted['matrix']
    torch.testing.assert_close(gram, fitted['scale']**2 * torch.eye(channels, dtype=torch.float64), atol=1e-10, rtol=1e-7)
    # the default mode of cdist squares the coordinates and cancels them for near points
    near, far = (torch.cdist(v, v, compute_mode='donot_use_mm_for_euclid_dist') for v in (y, x))
    torch.testing.assert_close(near, fitted['scale'] * far, atol=1e-6, rtol=1e-6)


@quick
@given(channels=st.sampled_from([1, 2, 4, 12]), layout=st.sampled_from(['rows', 'tokens', 'map']), seed=st.integers(0, 999))
def test_apply_and_invert_are_each_others_reverse(channels, layout, seed):
    fitted = phi_s_fit(sample(40, channels, seed))
    shape = dict(rows=(5, channels), tokens=(2, 3, channels), map=(2, channels, 3, 2))[layout]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, matrix = fitted['mean'], fitted['matrix']
    torch.testing.assert_close(phi_s_invert(phi_s_apply(x, mean, matrix), mean, matrix), x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(phi_s_apply(phi_s_invert(x, mean, matrix), mean, matrix), x, rtol=1e-6, atol=1e-6)
    if layout == 'map':
        tokens = phi_s_apply(x.flatten(2).transpose(1, 2), mean, matrix)
        torch.testing.assert_close(phi_s_apply(x, mean, matrix), tokens.transpose(1, 2).view(shape))


def test_fit_of_few_rows():
    """Fewer rows than channels: some variances are 0, the result is finite and invertible all the same."""
    fitted = phi_s_fit(sample(3, 8, 0))
    assert all(torch.isfinite(v).all() for v in fitted.values())
    with pytest.raises(ValueError, match='N above 1'):
        phi_s_fit(torch.zeros(1, 4))
    with pytest.raises(ValueError, match='do not vary'):
        phi_s_fit(torch.ones(5, 4))
    with pytest.raises(ValueError, match='do not vary'):
        phi_s_matrix(torch.zeros(4), torch.eye(4))


def test_moments_in_parts():
    x = sample(37, 4, 1) + 1e4
    moments = _Moments()
    for part in x.split([1, 20, 16]):
        moments.add(part)
    whole, merged = phi_s_fit(x), moments.fit()
    torch.testing.assert_close(merged['mean'], whole['mean'])
    torch.testing.assert_close(merged['scale'], whole['scale'])
    torch.testing.assert_close(merged['matrix'].abs(), whole['matrix'].abs(), rtol=1e-5, atol=1e-8)


# ---- losses and heads

def test_losses():
    x = torch.randn(3, 5, 4)
    assert radio_summary_loss(2 * x[:, 0], x[:, 0]).item() == pytest.approx(0, abs=1e-6)
    assert radio_summary_loss(-x[:, 0], x[:, 0]).item() == pytest.approx(2)
    assert radio_spatial_loss(x, x, mode='mse').item() == 0
    torch.testing.assert_close(radio_spatial_loss(2 * x, x, alpha=0.3, beta=0.0), torch.tensor(0.0), atol=1e-6, rtol=0)
    for mode in ('mse', 'cos_smooth_l1'):
        big = torch.full((1, 2, 4), 50.0, dtype=torch.float16)
        assert torch.isfinite(radio_spatial_loss(big, -big, mode=mode))
    with pytest.raises(ValueError, match="'l1'"):
        radio_spatial_loss(x, x, mode='l1')
    with pytest.raises(ValueError, match='one shape'):
        radio_summary_loss(x[0], x[0, :, :3])


@pytest.mark.parametrize('blocks', [0, 2])
def test_head(blocks):
    torch.manual_seed(0)
    head = MLP2(6, 5, 4, num_blocks=blocks)
    assert len(head.blocks) == blocks and head(torch.randn(2, 3, 6)).shape == (2, 3, 4)
    h = head.fc1(torch.ones(1, 6))
    for block in head.blocks:
        h = h + block(h)
    torch.testing.assert_close(head(torch.ones(1, 6)), head.final(h))
    with pytest.raises(ValueError, match='num_blocks'):
        MLP2(6, 5, 4, num_blocks=-1)


# ---- several teachers

def build(tmp_path, teacher=None, **options):
    warnings.simplefilter('ignore', UserWarning)
    options.setdefault('teachers', [dict(TINY, widths=(4, 4, 4, 12), spatial_tap='final_map')])
    config = tiny_config(tmp_path, distillers=[dict(type='PHIS', **options)], teacher=teacher or dict(VIT, untrained=True),
                         subset=48)
    config.model.student = Config(dict(net=dict(VIT, embed_dim=4))).net
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config.model.to_dict()))
    dataset = DATASETS.build(config.train_dataloader.dataset)
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, collate_fn=collate_batch)
    return model, RunnerTrainingSet(model, loader, config.train_dataloader.dataset.to_dict()), dataset


def test_statistics_pass_standardises_every_target(tmp_path):
    model, training_set, dataset = build(tmp_path)
    distiller = model.distillers['phi_s']
    assert set(distiller.heads) == {'summary0', 'spatial0', 'summary1', 'spatial1'}
    before = {key: value.clone() for key, value in distiller.state_dict().items()}
    model.prepare(training_set)
    found = {}
    for taps, batch in training_set.teacher_outputs(distiller.needs.teacher):
        for key, _, _, feature in distiller._targets(taps, batch.images):
            y = phi_s_apply(feature, getattr(distiller, f'{key}_mean'), getattr(distiller, f'{key}_matrix'))
            found.setdefault(key, []).append(y if y.dim() == 2 else y.movedim(1, -1).flatten(0, 2))
            torch.testing.assert_close(distiller.teacher_like(y, key[:-1], int(key[-1])), feature, rtol=1e-3, atol=1e-3)
    for key, rows in found.items():
        rows = torch.cat(rows)
        torch.testing.assert_close(rows.mean(0), torch.zeros(rows.shape[1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(rows.var(0), torch.ones(rows.shape[1]), atol=1e-2, rtol=0)
        assert not torch.equal(before[f'{key}_matrix'], distiller.state_dict()[f'{key}_matrix'])


def test_further_teachers_stay_out_of_the_model(tmp_path):
    model, training_set, dataset = build(tmp_path)
    model.prepare(training_set)
    data = model.data_preprocessor(dataset.__getitems__([0, 1, 2, 3]), training=False)
    terms = model(data, mode='loss')
    assert {'phi_s.summary0', 'phi_s.spatial0', 'phi_s.summary1', 'phi_s.spatial1'} <= set(terms)
    sum(terms.values()).backward()
    further = model.distillers['phi_s']._further[0].network
    own = {id(p) for p in model.parameters()}
    assert not any(id(p) in own or p.grad is not None or p.requires_grad for p in further.parameters())
    model.train()
    assert not further.training
    model.double()
    assert next(further.parameters()).dtype == torch.float64
    assert not any('further' in key for key in model.state_dict())


def test_a_further_teacher_with_its_own_input(tmp_path):
    """Resized and renormalised on the device."""
    own = dict(VIT, img_size=16, input=dict(mean=(0.5,) * 3, std=(0.25,) * 3, size=16))
    model, training_set, dataset = build(tmp_path, teachers=[own])
    teacher = model.distillers['phi_s']._further[0]
    seen = []
    teacher.network.patch_embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    data = model.data_preprocessor(dataset.__getitems__([0, 1]), training=False)
    model(data, mode='loss')
    expected = (data['images'] * 0.3 + 0.3 - 0.5) / 0.25
    assert seen[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(seen[0].mean(), expected.mean(), rtol=0.05, atol=0.05)


def test_other_weights_make_other_statistics(tmp_path):
    """The cache knows the further teachers too."""
    scales = []
    for seed in (0, 1):
        model, training_set, _ = build(tmp_path)
        torch.manual_seed(seed)
        for p in model.distillers['phi_s']._further[0].network.parameters():
            torch.nn.init.normal_(p, std=0.1 + seed)
        model.prepare(training_set)
        scales.append(model.distillers['phi_s'].state_dict()['spatial1_matrix'].square().sum())
    assert not torch.allclose(*scales)


def test_without_standardisation(tmp_path):
    model, training_set, _ = build(tmp_path, standardize=None, mode='cos_smooth_l1', teachers=[], summary_tap=None)
    assert not list(model.distillers['phi_s'].buffers()) and set(model.distillers['phi_s'].heads) == {'spatial0'}
    model.prepare(training_set)


def test_bad_options(tmp_path):
    with pytest.raises(ValueError, match='nothing to compare'):
        build(tmp_path, teachers=[], summary_tap=None, spatial_weight=0.0)
    with pytest.raises(ValueError, match='cannot standardise the spatial feature of teacher 1'):
        build(tmp_path, teachers=[dict(TINY, widths=(4, 4, 4, 6), spatial_tap='final_map', summary_tap=None)])
    with pytest.raises(ValueError, match='list'):
        build(tmp_path, teachers=[dict(TINY, spatial_tap='stages')])
    with pytest.raises(ValueError, match='vector'):
        build(tmp_path, teachers=[], summary_tap='tokens')
    with pytest.raises(ValueError, match="mode='mse'"):
        build(tmp_path, mode='l1')


def test_there_is_a_config_of_several_teachers():
    config = Config.fromfile(ROOT / 'configs/classification/phi_s/vit_resnet20_vithalf_digits.py')
    assert len(config.model.distillers[0].teachers) == 1 and config.model.teacher is not None
