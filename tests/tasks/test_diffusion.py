"""The task Diffusion, its data without images, its metric, and the networks it runs."""
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zoo.data import NoiseDataset, collate_batch
from zoo.diffusion import Denoiser
from zoo.metrics import FeatureNetwork, GenerationMetric, generation_scores
from zoo.models import DiffusionUNet, build_network
from zoo.registry import TASKS, UnknownNameError
from zoo.taps import TapReader

UNET = dict(type='DiffusionUNet', channels=8, groups=4, num_classes=3)


def task(**options):
    return TASKS.build(dict(dict(type='Diffusion', input_shape=(1, 8, 8), num_classes=3), **options))


def network(**options):
    torch.manual_seed(0)
    net = build_network(dict(UNET, **options))
    for parameter in net.parameters():  # as after training: at its start a block passes nothing on
        nn.init.normal_(parameter, std=0.1)
    return net.eval()


def data(count=4, **more):
    return dict(images=torch.rand(count, 1, 8, 8) * 2 - 1, labels=torch.arange(count) % 3, indices=torch.arange(count), **more)


# ---- the network

@pytest.mark.parametrize('options', [{}, dict(patch_size=2), dict(channel_mult=(1, 2, 2), attention=(1,), num_blocks=2),
                                     dict(in_channels=3), dict(num_classes=None)])
def test_unet_shapes(options):
    net = network(**options)
    x = torch.randn(2, options.get('in_channels', 1), 8, 8)
    taps = net.forward_taps(x, torch.tensor([0.1, 0.9]))
    assert taps['output'].shape == x.shape and taps['middle'].shape[-1] < 8
    labels = None if net.num_classes is None else torch.tensor([0, 1])
    assert not torch.equal(net(x, torch.zeros(2), labels), net(x, torch.ones(2), labels))


def test_unet_reads_label_and_time_of_each_sample():
    net, x, t = network(), torch.randn(3, 1, 8, 8), torch.tensor([0.2, 0.5, 0.9])
    labels = torch.tensor([0, 1, 2])
    whole = net(x, t, labels)
    parts = torch.cat([net(x[i:i + 1], t[i:i + 1], labels[i:i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x, t), net(x, t, net.null_condition(labels)))
    assert not torch.allclose(net(x, t), whole)


def test_unet_refuses():
    net = network()
    with pytest.raises(ValueError, match='multiples of 2'):
        net(torch.zeros(1, 1, 7, 7), torch.zeros(1))
    with pytest.raises(ValueError, match='guidance_embedding'):
        net(torch.zeros(1, 1, 8, 8), torch.zeros(1), guidance=torch.ones(1))
    with pytest.raises(ValueError, match='no classes'):
        network(num_classes=None)(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match='multiple of groups=8'):
        DiffusionUNet(channels=10)
    with pytest.raises(UnknownNameError, match='middle'):
        net.forward_taps(torch.zeros(1, 1, 8, 8), torch.zeros(1), names=('midle',))


# ---- the task

def test_batch_of_images_and_of_noise():
    torch.manual_seed(0)
    batch = task().batch(data())
    assert batch.extra['noise'].shape == batch.images.shape and batch.extra['condition'] is batch.labels
    noise = torch.randn(4, 1, 8, 8)
    free = task().batch(dict(noise=noise, labels=torch.arange(4) % 3))
    assert free.images is noise and free.extra['noise'] is noise
    with pytest.raises(ValueError, match='input_shape'):
        task().batch(dict(images=torch.zeros(2, 1, 9, 9)))
    with pytest.raises(ValueError, match='NoiseDataset'):
        task().batch(dict(labels=torch.zeros(2)))


@pytest.mark.parametrize('kind', ['v', 'eps', 'x0'])
@pytest.mark.parametrize('weighting', ['output', 'snr_trunc', 'v_mse'])
def test_denoising_loss_falls(kind, weighting):
    own, net = task(weighting=weighting), build_network(dict(UNET, prediction_type=kind))
    optimizer, fixed = torch.optim.Adam(net.parameters(), lr=5e-3), data(8)
    losses = []
    for _ in range(12):
        torch.manual_seed(0)
        reader = TapReader(net)
        batch = own.batch(fixed)
        loss = own.loss(own.run(reader, batch, ('denoiser',))['denoiser'], batch)['denoising']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


def test_all_labels_hidden():
    net = network()
    losses = []
    for labels in (torch.zeros(6, dtype=torch.int64), torch.arange(6) % 3):
        torch.manual_seed(0)
        own = task(label_dropout=1.0)
        batch = own.batch(dict(images=torch.zeros(6, 1, 8, 8), labels=labels))
        losses.append(own.loss(Denoiser(net), batch)['denoising'].item())
    assert losses[0] == losses[1]


def test_noise_cannot_be_denoised():
    own = task()
    with pytest.raises(ValueError, match='task.loss_weight=0'):
        own.loss(Denoiser(network()), own.batch(dict(noise=torch.zeros(2, 1, 8, 8))))
    assert task(loss_weight=0.0).loss(None, None) == {}


def test_evaluation_noise_belongs_to_the_images():
    """Whatever the batches and the state of the generator."""
    own, reader, whole = task(sampler=dict(type='ddim', steps=2)), TapReader(network()), data()
    once = own.predict(reader, own.batch(whole))[0]['samples']
    parts = [own.predict(reader, own.batch({k: v[i:i + 1] for k, v in whole.items()}))[0]['samples'] for i in range(4)]
    torch.testing.assert_close(torch.cat(parts), once, rtol=1e-4, atol=1e-5)
    other = task(sampler=dict(type='ddim', steps=2), eval_seed=1)
    assert not torch.allclose(other.predict(reader, own.batch(whole))[0]['samples'], once)


def test_bad_options():
    for options, message in ((dict(weighting='snr3'), 'Did you mean'), (dict(sampler=dict(type='dim')), 'Did you mean'),
                             (dict(label_dropout=2), 'share')):
        with pytest.raises(ValueError, match=message):
            task(**options)
    with pytest.raises(UnknownNameError, match='denoiser'):
        task().run(TapReader(network()), task().batch(data()), ('logits',))
    with pytest.raises(ValueError, match='for images'):
        task(input_shape=(1, 8, 8)).shapes(TapReader(Wrong()), ('denoiser',))


class Wrong(nn.Module):
    prediction_type, schedule = 'v', 'cosine'

    def forward(self, x, time, condition=None):
        return x[:, :, :4]

    def forward_taps(self, x, names=None):
        return {}


# ---- data without images

def test_noise_depends_on_seed_epoch_and_index_alone():
    noise = NoiseDataset(20, (1, 4, 4), num_classes=3)
    batch = noise.__getitems__([3, 17])
    assert batch['labels'].tolist() == [0, 2] and batch['noise'].shape == (2, 1, 4, 4)
    assert torch.equal(noise[17]['noise'], batch['noise'][1])
    noise.set_epoch(1)
    assert not torch.equal(noise[17]['noise'], batch['noise'][1])
    many = torch.stack([sample['noise'] for sample in noise])
    assert abs(many.mean()) < 0.2 and abs(many.std() - 1) < 0.2
    with pytest.raises(IndexError, match='20'):
        noise[20]
    with pytest.raises(ValueError, match='length'):
        NoiseDataset(0, (1, 4, 4))


def test_prompts(tmp_path):
    path = tmp_path / 'prompts.safetensors'
    embeddings, empty = torch.randn(3, 5, 6), torch.randn(5, 6)
    save_file(dict(embeddings=embeddings.half(), empty=empty.half()), path)
    prompts = NoiseDataset(7, (4, 8, 8), prompts=path)
    batch = collate_batch(prompts.__getitems__([0, 4]))
    torch.testing.assert_close(batch['condition'], embeddings[[0, 1]].half().float())
    torch.testing.assert_close(batch['null_condition'][1], empty.half().float())
    made = task(num_classes=None, input_shape=(4, 8, 8), condition_shape=(5, 6)).batch(batch)
    assert made.extra['condition'] is batch['condition'] and made.extra['null_condition'] is batch['null_condition']
    save_file(dict(embeddings=embeddings), path)
    with pytest.raises(ValueError, match='lacks empty'):
        NoiseDataset(7, (4, 8, 8), prompts=path)
    with pytest.raises(FileNotFoundError, match='embed_prompts'):
        NoiseDataset(7, (4, 8, 8), prompts=tmp_path / 'none.safetensors')


# ---- the metric

def test_generation_metric():
    torch.manual_seed(0)
    judge = build_network(dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8), num_classes=3))
    metric = GenerationMetric(judge, name='test', mean=(0.5,) * 3, std=(0.5,) * 3, size=16)
    images, labels = torch.rand(40, 1, 8, 8) * 2 - 1, torch.arange(40) % 3
    classes = metric.features(images)[1].argmax(1)
    for part in (slice(0, 25), slice(25, 40)):
        metric.process(None, [dict(samples=images[part], images=images[part], labels=classes[part])])
    same = metric.evaluate(40)
    assert same['fid_test'] == pytest.approx(0, abs=1e-4) and same['precision'] == same['recall'] == 1
    assert same['accuracy'] == same['real_accuracy'] == 100
    metric.process(None, [dict(samples=torch.zeros_like(images), images=images, labels=labels)])
    poor = metric.evaluate(40)
    assert poor['fid_test'] > same['fid_test'] and poor['recall'] < 0.5
    with pytest.raises(KeyError, match='task Diffusion'):
        metric.process(None, [dict(logits=images)])


def test_too_few_images_cost_no_run():
    scores = generation_scores(torch.randn(6, 64), torch.randn(6, 64))
    assert set(scores) == {'fid', 'precision', 'recall'}


def test_a_missing_judge_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match=r'tools/train\.py configs/classification/vanilla/none\.py'):
        FeatureNetwork('work_dirs/classification/vanilla/none/student.safetensors')


def test_images_are_judged_as_a_file_would_hold_them():
    torch.manual_seed(0)
    judge = FeatureNetwork(build_network(dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8))), pad=2)
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    stored = ((images + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(judge(images)[0], judge(stored)[0])
    torch.testing.assert_close(judge(3 * images)[0], judge((3 * images).clamp(-1, 1))[0])
