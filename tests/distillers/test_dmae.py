"""DMAE: laws of the losses, the partly run teacher, and both stages as runs."""
import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from tests.conftest import ROOT
from zoo.distillers import DMAE, Batch, Progress, dmae_align_loss, dmae_loss, mae_reconstruction_loss, mae_target
from zoo.distillers.base import Shapes
from zoo.engine import Runner, prepare_config
from zoo.models import MaskedAutoencoder, build_network, masked_taps, patchify
from zoo.models.released import load_released
from zoo.registry import MODELS
from zoo.taps import TapReader

CONFIGS = ROOT / 'configs/masked_images/dmae'
TINY = dict(type='MaskedAutoencoder', img_size=16, patch_size=4, embed_dim=12, depth=3, num_heads=3,
            decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)
TEACHER = dict(TINY, embed_dim=24, depth=4, decoder_depth=0)


def features(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- losses

def test_alignment_of_equal_directions_is_zero():
    x = features(2, 5, 8)
    for criterion in ('l1', 'l2'):
        assert dmae_align_loss([3 * x], [x], criterion=criterion).item() == pytest.approx(0, abs=1e-12)
        assert dmae_align_loss([3 * x], [x], criterion=criterion, normalize=False) > 0.1


def test_pairs_are_added_and_tokens_may_be_permuted_together():
    student, teacher = [features(2, 5, 8, seed=s) for s in (1, 2)], [features(2, 5, 8, seed=s) for s in (3, 4)]
    parts = [dmae_align_loss([s], [t]) for s, t in zip(student, teacher)]
    torch.testing.assert_close(dmae_align_loss(student, teacher), sum(parts))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(dmae_align_loss([student[0][:, order]], [teacher[0][:, order]]), parts[0])


def test_visible_patches_do_not_count():
    images, pred = features(2, 3, 8, 8), features(2, 4, 48, seed=1)
    mask = torch.tensor([[1., 0, 0, 1], [0, 1, 0, 1]]).double()
    pred.requires_grad_()
    for norm_pix in (False, True):
        loss = mae_reconstruction_loss(pred, images, mask, patch_size=4, norm_pix=norm_pix)
        grad, = torch.autograd.grad(loss, pred)
        assert (grad[mask == 0] == 0).all() and (grad[mask == 1] != 0).all()


def test_target_of_normalised_pixels():
    """Against a loop over patches."""
    images = features(2, 3, 8, 8)
    target = mae_target(images, patch_size=4, norm_pix=True)
    for n, image in enumerate(images):
        for row in range(2):
            for column in range(2):
                patch = image[:, 4 * row:4 * row + 4, 4 * column:4 * column + 4].permute(1, 2, 0).flatten()
                expected = (patch - patch.mean()) / (patch.var(unbiased=True) + 1e-6).sqrt()
                torch.testing.assert_close(target[n, 2 * row + column], expected)
    torch.testing.assert_close(mae_target(images, patch_size=4), patchify(images, patch_size=4))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    pred, images = torch.full((1, 4, 48), 50.0, dtype=dtype), torch.full((1, 3, 8, 8), -50.0, dtype=dtype)
    feats = [torch.full((1, 3, 8), 50.0, dtype=dtype)], [torch.full((1, 3, 8), -50.0, dtype=dtype)]
    for value in dmae_loss(pred, images, torch.ones(1, 4), *feats, patch_size=4).values():
        assert value.dtype == torch.float32 and torch.isfinite(value)


def test_bad_losses():
    x = features(1, 3, 4)
    with pytest.raises(ValueError, match="'l3'"):
        dmae_align_loss([x], [x], criterion='l3')
    with pytest.raises(ValueError, match='pairs'):
        dmae_align_loss([x, x], [x])
    with pytest.raises(ValueError, match='one shape'):
        dmae_align_loss([x], [features(1, 3, 5)])
    with pytest.raises(ValueError, match='patch_size'):
        mae_reconstruction_loss(features(1, 4, 12), features(1, 3, 8, 8), torch.ones(1, 4), patch_size=4)


# ---- the distiller

def built(distiller: DMAE, student=(2, 5, 12), teacher=(2, 5, 24)) -> DMAE:
    distiller.build(Shapes({n: torch.Size(student) for n in distiller.needs.student},
                           {n: torch.Size(teacher) for n in distiller.needs.teacher}))
    return distiller


@pytest.mark.parametrize('projector', ['linear', 'mlp'])
def test_fits_free_features(projector):
    torch.manual_seed(0)
    distiller = built(DMAE((1,), (2,), projector=projector))
    student, teacher = nn.Parameter(torch.randn(2, 5, 12)), torch.randn(2, 5, 24)
    optimizer = torch.optim.Adam([student, *distiller.parameters()], lr=0.01)
    losses = []
    for _ in range(20):
        loss = distiller({'block1': student}, {'block2': teacher}, Batch(torch.zeros(2, 3, 16, 16)), Progress())['align']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_without_projector_raw_features_are_compared():
    distiller = built(DMAE((1,), (2,), projector=None), teacher=(2, 5, 12))
    assert not distiller.normalize and not list(distiller.parameters())
    student, teacher = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    got = distiller({'block1': student}, {'block2': teacher}, None, Progress())['align']
    torch.testing.assert_close(got, F.l1_loss(student, teacher))


def test_biases_of_projectors_are_not_decayed():
    groups = built(DMAE((0, 1), (1, 2))).param_groups()
    assert [(len(g['params']), g.get('decay_mult')) for g in groups] == [(2, None), (2, 0.0)]


def test_bad_pairs():
    with pytest.raises(ValueError, match='pairs'):
        DMAE((1, 2), (3,))
    with pytest.raises(ValueError, match='projector'):
        DMAE((1,), (2,), projector='conv')
    with pytest.raises(ValueError, match="projector='linear'"):
        built(DMAE((1,), (2,), projector=None))
    with pytest.raises(ValueError, match='register tokens'):
        built(DMAE((1,), (2,)), teacher=(2, 9, 24))


# ---- the teacher

def calls_of(network: nn.Module) -> list[int]:
    """Fills with the numbers of the blocks that are run."""
    ran = []
    for number, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    return ran


@pytest.mark.parametrize('cfg', [TEACHER, dict(
    type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=4, embed_dim=24, num_heads=3)])
def test_only_the_needed_blocks_of_the_teacher_run(cfg):
    config = Config(dict(
        type='Distillation', student=TINY, teacher=dict(cfg, untrained=True),
        distillers=[dict(type='DMAE', student_blocks=(1,), teacher_blocks=(2,))],
        task=dict(type='MaskedImages', input_shape=(3, 16, 16), patch_size=4)))
    torch.manual_seed(0)
    model = MODELS.build(config.to_dict())
    ran = calls_of(model.teacher)
    terms = model(dict(images=torch.randn(2, 3, 16, 16)), mode='loss')
    assert ran == [0, 1, 2]
    assert set(terms) == {'reconstruction', 'dmae.align'}
    sum(terms.values()).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(g is not None and g.abs().sum() > 0 for g in grads.values()), [n for n, g in grads.items() if g is None]
    assert not any('pos_embed' in name for name in grads)
    assert all(p.grad is None for p in model.teacher.parameters())


def test_partial_and_whole_teacher_agree():
    torch.manual_seed(0)
    teacher = build_network(TEACHER).eval()
    images, noise = torch.randn(2, 3, 16, 16), torch.rand(2, 16)
    with torch.no_grad():
        whole = teacher(images, noise, mask_ratio=0.75)
        partial = masked_taps(teacher, images, noise, mask_ratio=0.75, names=('block1',))
    assert list(partial) == ['block1']
    torch.testing.assert_close(partial['block1'], whole['block1'])


def test_student_and_teacher_see_the_same_patches():
    """The same network on both sides is aligned at once, whatever the mask."""
    torch.manual_seed(0)
    net = build_network(TINY)
    distiller = DMAE((1,), (1,), projector=None)
    model = MODELS.build(dict(type='Distillation', student=net, teacher=build_network(TINY),
                              task=dict(type='MaskedImages', input_shape=(3, 16, 16), patch_size=4),
                              distillers=[dict(type='DMAE', student_blocks=(1,), teacher_blocks=(1,), projector=None)]))
    model.teacher.load_state_dict(net.state_dict())
    terms = model(dict(images=torch.randn(2, 3, 16, 16)), mode='loss')
    assert terms['dmae.align'].item() == pytest.approx(0, abs=1e-6)
    assert distiller.needs.student == ('block1',)


def test_teacher_of_another_grid():
    teacher = dict(TEACHER, img_size=16, patch_size=8, untrained=True)
    with pytest.raises(ValueError, match='one patch grid'):
        MODELS.build(dict(type='Distillation', student=TINY, teacher=teacher,
                          task=dict(type='MaskedImages', input_shape=(3, 16, 16), patch_size=4),
                          distillers=[dict(type='DMAE', student_blocks=(1,), teacher_blocks=(2,))]))


# ---- both stages

def short(path, work_dir, **options) -> Config:
    config = Config.fromfile(path)
    config.train_dataloader.update(batch_size=16)
    config.train_dataloader.dataset.subset = 48
    config.val_dataloader.dataset.subset = 20
    config.train_cfg.update(max_epochs=2, val_interval=1)
    return prepare_config(config, work_dir=str(work_dir), options=options)


def test_pretraining_then_finetuning(tmp_path):
    config = short(CONFIGS / 'mae_small_tiny_digits.py', tmp_path / 'pretrain',
                   **{'model.teacher.checkpoint': None, 'model.teacher.untrained': True})
    Runner.from_cfg(config).train()
    record = json.loads((tmp_path / 'pretrain/record.json').read_text())
    assert record['monitor'] == 'explained_variance' and record['last']['reconstruction_loss'] > 0
    assert (tmp_path / 'pretrain/reconstructions.png').read_bytes()[:4] == b'\x89PNG'

    encoder = load_released(tmp_path / 'pretrain/encoder.safetensors')
    student = load_released(tmp_path / 'pretrain/student.safetensors')
    assert type(encoder).__name__ == 'VisionTransformer' and isinstance(student, MaskedAutoencoder)

    config = short(CONFIGS / 'mae_small_tiny_digits_finetune.py', tmp_path / 'finetune',
                   **{'model.student.checkpoint.path': str(tmp_path / 'pretrain/encoder.safetensors')})
    runner = Runner.from_cfg(config)
    tuned = runner.bare_model.student
    torch.testing.assert_close(tuned.blocks[1].attn.qkv.weight, student.blocks[1].attn.qkv.weight)
    torch.testing.assert_close(tuned.pos_embed, student.pos_embed)
    assert 0 < tuned.head.weight.std() < 1e-4
    runner.train()
    assert 0 <= json.loads((tmp_path / 'finetune/record.json').read_text())['last']['top1'] <= 100
    rates = sorted({round(g['initial_lr'] / 2e-3, 6) for g in runner.optim_wrapper.param_groups})
    assert rates == [round(0.75**n, 6) for n in (5, 4, 3, 2, 1, 0)]


def test_resumes_to_the_bit(tmp_path):
    """The masks are part of the run's randomness."""
    options = {'model.teacher.checkpoint': None, 'model.teacher.untrained': True, 'default_hooks.checkpoint.interval': 1,
               'default_hooks.checkpoint.max_keep_ckpts': 3}
    path = CONFIGS / 'mae_small_tiny_digits.py'
    straight = Runner.from_cfg(short(path, tmp_path / 'a', **options))
    straight.train()
    again = short(path, tmp_path / 'b', **options)
    again.resume, again.load_from = True, str(tmp_path / 'a/epoch_1.pth')
    resumed = Runner.from_cfg(again)
    resumed.bare_model.teacher.load_state_dict(straight.bare_model.teacher.state_dict())
    resumed.train()
    for key, value in straight.bare_model.state_dict().items():
        assert torch.equal(value, resumed.bare_model.state_dict()[key]), key


def test_reader_refuses_other_taps():
    from zoo.registry import UnknownNameError
    net = build_network(TINY)
    with pytest.raises(UnknownNameError, match='block7'):
        masked_taps(net, torch.zeros(1, 3, 16, 16), torch.rand(1, 16), mask_ratio=0.5, names=('block7',))
    assert TapReader(net).named_taps
