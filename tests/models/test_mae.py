"""Masked autoencoders: masking, positions, the encoder as a plain ViT, and checkpoints of the reference code."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.models import (
    CheckpointError,
    MaskedAutoencoder,
    TimmModel,
    build_network,
    export_encoder,
    load_checkpoint,
    mask_indices,
    masked_taps,
    patchify,
    random_masking,
    sincos_pos_embed_2d,
    unpatchify,
)
from zoo.registry import UnknownNameError

TINY = dict(img_size=16, patch_size=4, embed_dim=12, depth=3, num_heads=3, decoder_embed_dim=8, decoder_depth=1,
            decoder_num_heads=2)
VIT = dict(model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=3, embed_dim=12, num_heads=3)
quick = settings(deadline=None, max_examples=40)


# ---- masking

@quick
@given(count=st.integers(1, 4), length=st.integers(2, 60), ratio=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_masking_ratio_order_and_restore(count, length, ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, length, generator=generator)
    tokens = torch.randn(count, length, 3, generator=generator)
    visible = int(length * (1 - ratio))
    if not visible:
        with pytest.raises(ValueError, match='mask_ratio'):
            random_masking(tokens, noise, mask_ratio=ratio)
        return
    masked = random_masking(tokens, noise, mask_ratio=ratio)
    assert masked['tokens'].shape == (count, visible, 3)
    assert (masked['mask'].sum(1) == length - visible).all()
    # in the order of the noise, and the smallest of it
    assert (noise.gather(1, masked['ids_keep']).diff(dim=1) >= 0).all()
    assert (noise.gather(1, masked['ids_keep']).amax(1) <= noise.masked_fill(masked['mask'] == 0, 2).amin(1)).all()
    # the mask is 0 exactly where kept
    kept = torch.zeros(count, length).scatter(1, masked['ids_keep'], 1)
    assert torch.equal(kept, 1 - masked['mask'])
    # behind the visible tokens anything may stand: restored, each is in its own place
    padded = torch.cat([masked['tokens'], torch.full((count, length - visible, 3), math.nan)], dim=1)
    restored = padded.gather(1, masked['ids_restore'][..., None].expand(-1, -1, 3))
    assert torch.equal(restored[masked['mask'] == 0], tokens[masked['mask'] == 0])
    assert restored[masked['mask'] == 1].isnan().all()


def test_number_of_visible_patches_is_truncated():
    """As in the reference code, where 1 - 0.9 is a little less than 0.1."""
    assert mask_indices(torch.rand(1, 50), mask_ratio=0.9)['ids_keep'].shape == (1, 4)
    assert mask_indices(torch.rand(1, 196), mask_ratio=0.98)['ids_keep'].shape == (1, 3)


@pytest.mark.parametrize('ratio', [-0.1, 1.0, 0.99])
def test_ratio_that_leaves_nothing(ratio):
    with pytest.raises(ValueError, match='mask_ratio'):
        mask_indices(torch.rand(1, 16), mask_ratio=ratio)


def test_every_patch_is_as_likely():
    generator = torch.Generator().manual_seed(0)
    mask = mask_indices(torch.rand(4000, 8, generator=generator), mask_ratio=0.75)['mask']
    assert ((mask.mean(0) - 0.75).abs() < 0.03).all()


# ---- patches

@quick
@given(grid=st.integers(1, 4), size=st.integers(1, 4), channels=st.integers(1, 4), count=st.integers(1, 3))
def test_patches_and_back(grid, size, channels, count):
    images = torch.randn(count, channels, grid * size, grid * size)
    patches = patchify(images, patch_size=size)
    assert patches.shape == (count, grid**2, size**2 * channels)
    assert torch.equal(unpatchify(patches, patch_size=size), images)


def test_order_inside_a_patch():
    images = torch.arange(2 * 4 * 4).view(1, 2, 4, 4)
    patch = patchify(images, patch_size=2)[0, 1]  # first row of patches, second column
    assert patch.tolist() == [images[0, c, y, x] for y in (0, 1) for x in (2, 3) for c in (0, 1)]


def test_images_that_cannot_be_cut():
    for shape in ((1, 3, 8, 12), (1, 3, 10, 10)):
        with pytest.raises(ValueError, match='square'):
            patchify(torch.zeros(shape), patch_size=4)
    with pytest.raises(ValueError, match='square grid'):
        unpatchify(torch.zeros(1, 5, 48), patch_size=4)
    with pytest.raises(ValueError, match='square grid'):
        unpatchify(torch.zeros(1, 4, 47), patch_size=4)


# ---- positions

@settings(deadline=None, max_examples=12)
@given(quarter=st.integers(1, 8), grid=st.integers(1, 6))
def test_positions(quarter, grid):
    """Against the formula; unit circles; distinct; the dot product of two depends on their distance alone."""
    width = 4 * quarter
    table = sincos_pos_embed_2d(embed_dim=width, grid_size=grid)
    assert table.shape == (grid**2, width) and table.dtype == torch.float64
    for row in range(grid):
        for column in range(grid):
            expected = [f(place * 10000**(-k / quarter)) for place in (column, row) for f in (math.sin, math.cos)
                        for k in range(quarter)]
            torch.testing.assert_close(table[row * grid + column], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(table.square().sum(1), torch.full((grid**2,), width / 2, dtype=torch.float64))
    assert len(table.round(decimals=9).unique(dim=0)) == grid**2
    if grid > 2:
        dots = table @ table.T
        torch.testing.assert_close(dots[0, grid + 1], dots[grid, 2 * grid + 1])
    with_class = sincos_pos_embed_2d(embed_dim=width, grid_size=grid, cls_token=True)
    assert (with_class[0] == 0).all() and torch.equal(with_class[1:], table)


def test_positions_need_a_multiple_of_four():
    with pytest.raises(ValueError, match='multiple of 4'):
        sincos_pos_embed_2d(embed_dim=10, grid_size=2)


# ---- the network

@pytest.fixture
def net():
    torch.manual_seed(0)
    return MaskedAutoencoder(**TINY).eval()


def test_shapes_and_frozen_positions(net):
    out = net(torch.randn(2, 3, 16, 16))
    assert out['pred'].shape == (2, 16, 48) and out['latent'].shape == (2, 5, 12) and out['mask'].shape == (2, 16)
    assert {f'block{i}' for i in range(3)} < set(out)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {'pos_embed', 'decoder_pos_embed'} and frozen < set(net.state_dict())


def test_hidden_pixels_do_not_reach_the_prediction(net):
    images, noise = torch.randn(2, 3, 16, 16), torch.rand(2, 16)
    mask = mask_indices(noise, mask_ratio=0.75)['mask']
    changed = patchify(images, patch_size=4)
    changed[mask == 1] = 7.0
    changed = unpatchify(changed, patch_size=4)
    assert not torch.equal(changed, images)
    torch.testing.assert_close(net(changed, noise)['pred'], net(images, noise)['pred'])


def test_random_masks_follow_torch(net):
    images = torch.randn(2, 3, 16, 16)
    torch.manual_seed(3)
    first = net(images)['mask']
    second = net(images)['mask']
    torch.manual_seed(3)
    assert torch.equal(net(images)['mask'], first) and not torch.equal(first, second)


def test_bad_sizes():
    with pytest.raises(ValueError, match='img_size=18'):
        MaskedAutoencoder(**dict(TINY, img_size=18))
    with pytest.raises(ValueError, match='5 heads'):
        MaskedAutoencoder(**dict(TINY, num_heads=5))
    with pytest.raises(ValueError, match='plain ViT'):
        masked_taps(torch.nn.Linear(2, 2), torch.zeros(1, 3, 4, 4), torch.rand(1, 4), mask_ratio=0.5, names=('latent',))
    with pytest.raises(ValueError, match='one patch grid'):
        MaskedAutoencoder(**TINY)(torch.zeros(1, 3, 16, 16), torch.rand(1, 9))
    with pytest.raises(UnknownNameError, match='pred'):
        masked_taps(MaskedAutoencoder(**dict(TINY, decoder_depth=0)), torch.zeros(1, 3, 16, 16), torch.rand(1, 16),
                    mask_ratio=0.5, names=('pred',))


# ---- the encoder as a plain ViT

def test_exported_encoder_is_a_timm_vit_with_the_same_outputs(net):
    encoder = export_encoder(net)
    plain = TimmModel(**VIT, num_classes=0)
    assert type(encoder).__mro__[2] is type(plain).__mro__[2]  # timm's VisionTransformer
    assert list(encoder.state_dict()) == list(plain.state_dict())
    rebuilt = build_network(encoder.build_config).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    images, noise = torch.randn(2, 3, 16, 16), torch.arange(16.0).expand(2, -1)
    latent = net(images, noise, mask_ratio=0.0)['latent']
    torch.testing.assert_close(rebuilt.forward_features(images), latent)


def test_timm_vit_under_a_mask_equals_the_autoencoder(net):
    encoder = export_encoder(net)
    images, noise = torch.randn(2, 3, 16, 16), torch.rand(2, 16)
    names = ('block0', 'block2', 'latent', 'mask')
    expected, got = (masked_taps(n, images, noise, mask_ratio=0.6, names=names) for n in (net, encoder))
    for name in names:
        torch.testing.assert_close(got[name], expected[name])


def test_register_tokens_are_never_masked():
    vit = TimmModel(**VIT, num_classes=0, reg_tokens=2).eval()
    taps = masked_taps(vit, torch.randn(1, 3, 16, 16), torch.rand(1, 16), mask_ratio=0.75, names=('latent',))
    assert taps['latent'].shape == (1, 3 + 4, 12)


# ---- checkpoints

def of(*layers: str) -> list[str]:
    return [f'{layer}.{kind}' for layer in layers for kind in ('weight', 'bias')]


KEYS = ['cls_token', 'pos_embed', 'mask_token', 'decoder_pos_embed',
        *of('patch_embed.proj', 'norm', 'decoder_embed', 'decoder_norm', 'decoder_pred')]
BLOCK = of('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')


def test_keys_are_those_of_the_reference_code(net):
    expected = KEYS + [f'blocks.{i}.{key}' for i in range(3) for key in BLOCK] + [f'decoder_blocks.0.{key}' for key in BLOCK]
    assert sorted(net.state_dict()) == sorted(expected)


@pytest.fixture
def official(net, tmp_path):
    """Files like the released ones: the whole network, and the encoder alone, each under `model`."""
    state = net.state_dict()
    torch.save(dict(model=state), tmp_path / 'visualize.pth')
    torch.save(dict(model={k: v for k, v in state.items() if not k.startswith(('decoder_', 'mask_token'))}),
               tmp_path / 'pretrain.pth')
    return tmp_path


@pytest.mark.parametrize('file', ['visualize.pth', 'pretrain.pth'])
def test_official_files_load(net, official, file):
    teacher = MaskedAutoencoder(**dict(TINY, decoder_depth=0))
    load_checkpoint(teacher, official / file, rename='mae_encoder')
    vit = TimmModel(**VIT, num_classes=0)
    load_checkpoint(vit, official / file, rename='mae_encoder')
    classifier = TimmModel(**VIT, num_classes=7, global_pool='avg', head_std=2e-5)
    before = classifier.head.weight.clone()
    load_checkpoint(classifier, official / file, rename='mae_mean_pool', fresh=('head', 'fc_norm'))
    for other in (teacher, vit, classifier):
        for key in ('pos_embed', 'blocks.2.mlp.fc2.weight', 'patch_embed.proj.bias'):
            assert torch.equal(other.state_dict()[key], net.state_dict()[key])
    assert torch.equal(classifier.head.weight, before) and 0 < before.abs().max() <= 4.1e-5


def test_whole_official_file_needs_no_converter(net, official):
    other = MaskedAutoencoder(**TINY)
    load_checkpoint(other, official / 'visualize.pth')
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in other.state_dict().items())


def test_fresh_parts_must_exist_and_nothing_else_may_lack(official):
    classifier = TimmModel(**VIT, num_classes=7, global_pool='avg')
    with pytest.raises(UnknownNameError, match='fc_norm'):
        load_checkpoint(classifier, official / 'pretrain.pth', rename='mae_mean_pool', fresh=('head', 'fcnorm'))
    with pytest.raises(CheckpointError, match='fc_norm'):
        load_checkpoint(classifier, official / 'pretrain.pth', rename='mae_mean_pool', fresh=('head',))
    with pytest.raises(CheckpointError, match='1 missing|of other shape|missing'):
        load_checkpoint(TimmModel(**dict(VIT, depth=4), num_classes=0), official / 'pretrain.pth', rename='mae_encoder')


def test_fresh_head_of_another_number_of_classes(tmp_path):
    """Fine-tuning a whole classifier on other classes."""
    torch.manual_seed(0)
    source, target = TimmModel(**VIT, num_classes=5), TimmModel(**VIT, num_classes=7)
    load_checkpoint(target, source.state_dict(), fresh=('head',))
    assert torch.equal(target.norm.weight, source.norm.weight) and target.head.weight.shape == (7, 12)
