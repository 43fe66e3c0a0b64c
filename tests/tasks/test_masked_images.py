"""The task MaskedImages, its metric, its pictures, and the cost of a masked teacher."""
import numpy as np
import pytest
import torch
from PIL import Image

from zoo.engine import draw_reconstructions
from zoo.engine.masked_cost import cost_table, masked_costs
from zoo.metrics import ReconstructionMetric
from zoo.models import build_network, patchify
from zoo.registry import MODELS, TASKS
from zoo.taps import TapReader

TINY = dict(type='MaskedAutoencoder', img_size=16, patch_size=4, embed_dim=12, depth=4, num_heads=3,
            decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)


def task(**options):
    return TASKS.build(dict(dict(type='MaskedImages', input_shape=(3, 16, 16), patch_size=4), **options))


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return TapReader(build_network(TINY).eval())


def test_batch_holds_a_mask_from_torchs_generator():
    masked, images = task(mask_ratio=0.5), torch.randn(3, 3, 16, 16)
    torch.manual_seed(1)
    batch = masked.batch(dict(images=images, labels=torch.arange(3), indices=torch.arange(3)))
    assert batch.extra['mask'].sum(1).tolist() == [8, 8, 8] and len(batch.extra['mask'].unique(dim=0)) == 3
    assert set(batch.extra) == {'noise', 'mask', 'ids_restore', 'ids_keep'}
    torch.manual_seed(1)
    assert torch.equal(masked.batch(dict(images=images)).extra['mask'], batch.extra['mask'])


def test_bad_options():
    with pytest.raises(ValueError, match='square'):
        task(input_shape=(3, 16, 12))
    with pytest.raises(ValueError, match='mask_ratio'):
        task(mask_ratio=0.98)
    with pytest.raises(ValueError, match='no term'):
        MODELS.build(dict(type='Distillation', student=TINY, task=task(loss_weight=0.0)))(
            dict(images=torch.zeros(2, 3, 16, 16)))


def test_evaluation_masks_belong_to_the_images(reader):
    """Whatever the batches and the state of the generator."""
    masked, images = task(), torch.randn(4, 3, 16, 16)
    whole = masked.predict(reader, masked.batch(dict(images=images, indices=torch.arange(4))))[0]
    parts = [masked.predict(reader, masked.batch(dict(images=images[i:i + 1], indices=torch.tensor([i]))))[0]
             for i in range(4)]
    for key in ('pred', 'mask', 'target'):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), whole[key])
    other = task(eval_seed=1)
    again = other.predict(reader, other.batch(dict(images=images, indices=torch.arange(4))))[0]
    assert not torch.equal(again['mask'], whole['mask'])


@pytest.mark.parametrize('norm_pix', [False, True])
def test_metric_agrees_with_the_loss(reader, norm_pix):
    masked = task(norm_pix=norm_pix)
    batch = masked.batch(dict(images=torch.randn(6, 3, 16, 16), indices=torch.arange(6)))
    metric, errors = ReconstructionMetric(), []
    for part in (slice(0, 4), slice(4, 6)):
        found = masked.predict(reader, masked._masked(batch.images[part], batch.extra['noise'][part]))
        metric.process(None, found)
        errors.append(((found[0]['pred'] - found[0]['target']).square().mean(-1) * found[0]['mask']).sum(1)
                      / found[0]['mask'].sum(1))
    assert metric.evaluate(6)['reconstruction_loss'] == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)


def test_explained_variance():
    target = torch.randn(5, 4, 3)
    mask = torch.tensor([[1., 1, 0, 1]]).expand(5, -1)
    hidden = target[mask == 1]
    scores = []
    for pred in (target, torch.full_like(target, hidden.mean().item())):
        metric = ReconstructionMetric()
        metric.process(None, [dict(pred=pred, target=target, mask=mask)])
        scores.append(metric.evaluate(5)['explained_variance'])
    assert scores[0] == pytest.approx(100) and scores[1] == pytest.approx(0, abs=1e-3)


def test_metric_refuses_what_is_not_its_own():
    metric, x = ReconstructionMetric(), torch.zeros(2, 4, 3)
    with pytest.raises(KeyError, match='MaskedImages'):
        metric.process(None, [dict(logits=x)])
    with pytest.raises(ValueError, match='hidden'):
        metric.process(None, [dict(pred=x, target=x, mask=torch.zeros(2, 4))])
    with pytest.raises(ValueError, match='nothing to evaluate'):
        metric.evaluate(2)


@pytest.mark.parametrize('norm_pix', [False, True])
def test_pictures(norm_pix, tmp_path):
    """A network that knows the target reconstructs the original."""
    masked = task(norm_pix=norm_pix)
    images = torch.rand(3, 3, 16, 16)
    batch = masked.batch(dict(images=images, indices=torch.arange(3)))
    perfect = masked.predict
    masked.predict = lambda reader, batch: [dict(found, pred=found['target']) for found in perfect(reader, batch)]
    torch.manual_seed(0)
    pictures = masked.pictures(TapReader(build_network(TINY).eval()), batch)
    torch.testing.assert_close(pictures['reconstructed'], images, rtol=1e-4, atol=1e-4)
    empty = (patchify(pictures['masked'], patch_size=4) == 0).all(-1)
    assert empty.sum(1).tolist() == [12, 12, 12]
    path = draw_reconstructions(pictures, tmp_path / 'a.png', mean=(0.0,) * 3, std=(1.0,) * 3, side=32)
    canvas = np.asarray(Image.open(path))
    assert canvas.shape == (14 + 3 * 36, 3 * 36, 3)
    tile = canvas[14:14 + 32:2, 0:32:2]
    np.testing.assert_array_equal(tile, (images[0].permute(1, 2, 0) * 255).round().byte().numpy())


def test_cost_of_a_partly_run_teacher():
    """Blocks cost alike, so that shares can be told beforehand, up to patch embedding and attention."""
    rows = masked_costs(dict(TINY, embed_dim=48, decoder_depth=0), TINY, blocks=(2, 2), mask_ratios=(0.5, 0.75), rounds=1)
    cost = {(row.mask_ratio, row.variant): row for row in rows}
    assert all(row.seconds > 0 and row.gflops > 0 for row in rows) and len(rows) == 12
    for ratio, visible in ((0.5, 8), (0.75, 4)):
        full, seen, partial = (cost[ratio, name].gflops for name in ('full', 'visible', 'partial'))
        assert cost[ratio, 'full'].visible == visible
        assert seen / full == pytest.approx((visible + 1) / 17, rel=0.15)
        assert partial / seen == pytest.approx(3 / 4, rel=0.1)
        assert cost[ratio, 'step_partial'].gflops > cost[ratio, 'mae'].gflops + partial
        assert cost[ratio, 'step_full'].gflops > cost[ratio, 'step_partial'].gflops
    assert cost_table(rows).count('\n') == 13
