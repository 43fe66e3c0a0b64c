"""Proteus: levels of the loss, masks, the second pass."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import proteus_loss, proteus_mask
from zoo.registry import MODELS

STUDENT = dict(type='TimmModel', model_name='vit_tiny_patch16_224', img_size=16, patch_size=4, depth=2, embed_dim=12,
               num_heads=3)
TEACHER = dict(STUDENT, embed_dim=24, untrained=True)
TASK = dict(type='Classification', num_classes=4, input_shape=(3, 16, 16), loss_weight=0.0)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(teacher=TEACHER, student=STUDENT, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type='Distillation', student=student, teacher=teacher, task=TASK,
                             distillers=[dict(type='Proteus', **options)]))


# ---- loss

def test_zero_at_the_teacher_and_each_level_alone():
    token, patch = draw(3, 8), draw(3, 4, 8, seed=1)
    mask = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    losses = proteus_loss(token, token, patch, patch, patch, mask)
    assert {k: v.item() for k, v in losses.items()} == dict(token=0, fea=0, patch=0)
    other = patch.clone()
    other[~mask] += 5
    assert proteus_loss(token, token, patch, patch, other, mask)['patch'].item() == 0
    other[0, 3] += 1
    torch.testing.assert_close(proteus_loss(token, token, patch, patch, other, mask)['patch'].item(), 1 / 3)


def test_class_token_counts_twice():
    token, patch = draw(3, 8), draw(3, 4, 8, seed=1)
    losses = proteus_loss(token + 1, token, patch, patch, lambda_token=2.0)
    assert losses['token'].item() == pytest.approx(2) and losses['fea'].item() == pytest.approx(1 / 5)


def test_levels_without_input_are_left_out():
    token, patch = draw(2, 8), draw(2, 4, 8)
    assert set(proteus_loss(token, token)) == {'token'}
    none = torch.zeros(2, 4, dtype=torch.bool)
    assert set(proteus_loss(token, token, patch, patch, patch, none)) == {'token', 'fea'}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    token, patch = torch.full((2, 8), 50.0, dtype=dtype), torch.full((2, 4, 8), 50.0, dtype=dtype)
    mask = torch.ones(2, 4, dtype=torch.bool)
    for value in proteus_loss(token, -token, patch, -patch, patch, mask).values():
        assert value.dtype == torch.float32 and value.item() == pytest.approx(1e4)


# ---- masks

@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 9), length=st.integers(1, 30), probability=st.floats(0, 1), ratio=st.floats(0, 1),
       seed=st.integers(0, 99))
def test_masks(count, length, probability, ratio, seed):
    noise = torch.rand(count, length, generator=torch.Generator().manual_seed(seed))
    mask = proteus_mask(noise, mask_probability=probability, mask_ratio=ratio)
    hidden, masked = int(length * ratio), int(count * probability)
    assert mask.sum(1).tolist() == [hidden] * masked + [0] * (count - masked)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    shuffled = proteus_mask(noise, mask_probability=probability, mask_ratio=ratio, order=order)
    assert torch.equal(shuffled[order], mask)


def test_ratios_from_a_range():
    noise, ratio_noise = torch.rand(8, 100), torch.tensor([0.05, 0.95, 0.55, 0.05])
    mask = proteus_mask(noise, mask_probability=0.5, mask_ratio=(0.1, 0.5), ratio_noise=ratio_noise)
    # four equal parts of [0.1, 0.5]; one draw from each
    assert mask.sum(1).tolist() == [10, 29, 35, 40, 0, 0, 0, 0]


# ---- the distiller

def test_two_passes_and_gradients_everywhere():
    net = model()
    net.student.reset_classifier(0)
    calls = []
    net.student.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    terms = net(dict(images=torch.randn(4, 3, 16, 16)), mode='loss')
    assert set(terms) == {'proteus.token', 'proteus.fea', 'proteus.patch'} and len(calls) == 2
    sum(terms.values()).backward()
    lacking = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert lacking == []
    assert not any(hook for hook in net.student.patch_embed._forward_hooks.values() if hook.__name__ == 'replace')
    assert not any('embedding' in key for key in net.distillers.state_dict())


def test_hidden_patches_do_not_reach_the_masked_view():
    net = model(mask_probability=1.0)
    distiller, mask = net.distillers['proteus'], torch.arange(16).expand(2, -1) < 8
    images = torch.randn(2, 3, 16, 16)
    changed = images.clone()
    changed[:, :, :8] = 3.0  # the upper half: patches 0 to 7
    net.eval()
    with torch.no_grad():
        views = [distiller._masked_patches(net.student_reader, x, mask) for x in (images, changed)]
        plain = [net.student_reader(x, ['tokens'])['tokens'] for x in (images, changed)]
    torch.testing.assert_close(*views)
    assert not torch.allclose(*plain)


def test_batch_of_one_has_no_masked_image():
    terms = model()(dict(images=torch.randn(1, 3, 16, 16)), mode='loss')
    assert terms['proteus.patch'].item() == 0 and terms['proteus.patch'].requires_grad


def test_class_token_alone_takes_any_grid():
    net = model(teacher=dict(TEACHER, patch_size=8), lambda_fea=0.0, lambda_patch=0.0)
    terms = net(dict(images=torch.randn(4, 3, 16, 16)), mode='loss')
    assert set(terms) == {'proteus.token'}
    trainable = {n for n, p in net.distillers.named_parameters() if p.requires_grad}
    assert trainable and all('token_head' in name for name in trainable)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match='patch by patch'):
        model(teacher=dict(TEACHER, patch_size=8))
    with pytest.raises(ValueError, match='class token of the student'):
        model(student=dict(STUDENT, class_token=False, global_pool='avg'))
    with pytest.raises(ValueError, match=r'\[0, 1\]'):
        model(mask_ratio=(0.5, 0.2))
