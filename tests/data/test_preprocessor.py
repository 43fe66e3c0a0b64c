import numpy as np
import pytest
import torch

from zoo.data import BatchPreprocessor, RandomCropFlip, collate_batch, teacher_class_means

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def batch_of(count=6, *views, classes=4):
    generator = torch.Generator().manual_seed(0)
    batch = {key: torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
             for key in ('images', *views)}
    return {**batch, 'labels': torch.arange(count) % classes, 'indices': torch.arange(count)}


def test_normalises_like_torchvision_and_leaves_the_batch_alone():
    from torchvision.transforms.functional import normalize

    batch = batch_of()
    before = batch['images'].clone()
    out = BatchPreprocessor(MEAN, STD, augment=[RandomCropFlip()])(batch)
    torch.testing.assert_close(out['images'], normalize(before.float() / 255, MEAN, STD))
    assert out['images'].dtype == torch.float32 and torch.equal(out['labels'], batch['labels'])
    assert torch.equal(batch['images'], before) and batch['images'].dtype == torch.uint8


def test_floating_images_are_taken_as_0_to_1():
    batch = batch_of()
    floating = {**batch, 'images': batch['images'].double() / 255}
    both = [BatchPreprocessor(MEAN, STD)(b)['images'] for b in (batch, floating)]
    torch.testing.assert_close(*both)
    torch.testing.assert_close(BatchPreprocessor()(batch)['images'], batch['images'] / 255)
    with pytest.raises(ValueError, match='int32'):
        BatchPreprocessor()({'images': batch['images'].int()})


def test_augments_when_training_only_and_each_view_by_itself():
    batch = batch_of(32)
    batch['images_strong'] = batch['images']
    preprocessor = BatchPreprocessor(augment=[{'type': 'RandomCropFlip', 'padding': 2}])
    preprocessor.generator = torch.Generator().manual_seed(0)
    plain = preprocessor(batch)
    assert torch.equal(plain['images'], plain['images_strong'])
    trained = preprocessor(batch, training=True)
    assert not torch.equal(trained['images'], plain['images'])
    assert not torch.equal(trained['images'], trained['images_strong'])
    preprocessor.generator = torch.Generator().manual_seed(0)
    assert torch.equal(preprocessor(batch, training=True)['images_strong'], trained['images_strong'])


def test_augmentation_of_one_view():
    batch = batch_of(32, 'images_strong')
    preprocessor = BatchPreprocessor(augment={'images': [{'type': 'RandomCropFlip'}]})
    plain, trained = preprocessor(batch), preprocessor(batch, training=True)
    assert torch.equal(plain['images_strong'], trained['images_strong'])
    assert not torch.equal(plain['images'], trained['images'])
    with pytest.raises(KeyError, match='images_strong'):
        BatchPreprocessor(augment={'images_strong': []})(batch_of(), training=True)


@pytest.mark.parametrize('arguments, message', [
    ({'mean': MEAN}, 'both'),
    ({'mean': MEAN, 'std': (1.0,)}, 'channels'),
    ({'mean': (120.0,) * 3, 'std': (60.0,) * 3}, '255'),
    ({'augment': {'type': 'RandomCropFlip'}}, 'list'),
    ({'mixup': {'mixup_alpha': 0.8}}, 'num_classes'),
    ({'mixup': {'mixup_alpha': 0.0, 'num_classes': 4}}, 'above 0'),
    ({'mixup': {'alpha': 1, 'num_classes': 4}}, 'timm'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchPreprocessor(**arguments)


def test_bad_batches():
    with pytest.raises(TypeError, match='collate_batch'):
        BatchPreprocessor()([1])
    with pytest.raises(ValueError, match='channels'):
        BatchPreprocessor(MEAN, STD)({'images': torch.zeros(2, 1, 4, 4)})
    with pytest.raises(ValueError, match='labels'):
        BatchPreprocessor(mixup={'num_classes': 4})({'images': torch.zeros(2, 1, 4, 4)}, training=True)


def test_statistics_stay_out_of_checkpoints():
    assert not BatchPreprocessor(MEAN, STD).state_dict()


@pytest.mark.parametrize('mode', ['batch', 'pair', 'elem'])
@pytest.mark.parametrize('count', [6, 7, 1])
def test_mixup_mixes_images_and_labels_alike(mode, count):
    batch = batch_of(count, 'images_strong')
    np.random.seed(3)
    preprocessor = BatchPreprocessor(MEAN, STD, mixup={'mixup_alpha': 1.0, 'num_classes': 4, 'label_smoothing': 0.0,
                                                       'mode': mode})
    plain, mixed = preprocessor(batch), preprocessor(batch, training=True)
    share, even = mixed['mixup_lam'], count // 2 * 2
    assert share.shape == (count,) and torch.equal(mixed['hard_labels'], batch['labels'])
    partner = torch.arange(count)
    partner[:even] = partner[:even].flip(0)
    hot = torch.nn.functional.one_hot(batch['labels'], 4).float()
    torch.testing.assert_close(mixed['labels'], share[:, None] * hot + (1 - share)[:, None] * hot[partner])
    weight = share[:, None, None, None]
    for key in ('images', 'images_strong'):
        torch.testing.assert_close(mixed[key], weight * plain[key] + (1 - weight) * plain[key][partner],
                                   atol=1e-5, rtol=1e-5)
    if even:
        assert (share[:even] < 1).all()
    if count % 2:
        assert share[-1] == 1


def test_cutmix_shares_are_areas_and_views_share_the_box():
    batch = batch_of(4, 'images_strong')
    np.random.seed(0)
    preprocessor = BatchPreprocessor(mixup={'mixup_alpha': 0.0, 'cutmix_alpha': 1.0, 'num_classes': 4})
    plain, mixed = preprocessor(batch), preprocessor(batch, training=True)
    changed = [(mixed[key] != plain[key]).any(1).any(0) for key in ('images', 'images_strong')]
    assert torch.equal(*changed) and changed[0].any()
    assert mixed['mixup_lam'][0] == pytest.approx(1 - changed[0].float().mean().item())
    # timm's default smoothing of 0.1
    assert mixed['labels'].min() == pytest.approx(0.025) and mixed['labels'].sum(1).tolist() == pytest.approx([1] * 4)
    np.random.seed(0)
    assert torch.equal(preprocessor(batch, training=True)['images'], mixed['images'])


def test_collate_stacks_or_passes():
    batch = batch_of()
    assert collate_batch(batch)['images'] is batch['images']
    samples = [{'images': torch.full((3, 2, 2), k), 'labels': k, 'weight': k / 2, 'name': str(k)} for k in range(3)]
    out = collate_batch(samples)
    assert out['images'].shape == (3, 3, 2, 2) and out['labels'].dtype == torch.int64
    assert out['weight'].tolist() == [0, 0.5, 1] and out['name'] == ['0', '1', '2']


@pytest.mark.parametrize('samples, message', [
    ([], 'no samples'),
    ([{'images': torch.zeros(3, 4, 4)}, {'images': torch.zeros(3, 5, 4)}], r'one size.*\(3, 4, 4\).*\(3, 5, 4\)'),
    ([{'images': torch.zeros(3)}, {'images': torch.zeros(3).byte()}], 'one dtype'),
    ([{'images': torch.zeros(3)}, {'labels': torch.zeros(3)}], 'same keys'),
])
def test_collate_refuses(samples, message):
    with pytest.raises(ValueError, match=message):
        collate_batch(samples)


@pytest.mark.parametrize('dtype, out', [(torch.float64, torch.float64), (torch.float32, torch.float32),
                                        (torch.bfloat16, torch.float32)])
def test_class_means(dtype, out):
    feats = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = torch.arange(30) % 3
    means = teacher_class_means(feats, labels, num_classes=3)
    expected = torch.stack([feats[labels == k].double().mean(0) for k in range(3)])
    assert means.dtype == out
    torch.testing.assert_close(means.double(), expected, atol=1e-7 if out == torch.float32 else 1e-14, rtol=1e-6)


def test_class_means_refuse():
    with pytest.raises(ValueError, match='2 of 4 have no samples: 1, 3'):
        teacher_class_means(torch.zeros(2, 5), torch.tensor([0, 2]), num_classes=4)
    with pytest.raises(ValueError, match='must lie in'):
        teacher_class_means(torch.zeros(2, 5), torch.tensor([0, 4]), num_classes=4)
    with pytest.raises(ValueError, match=r'\(N, D\)'):
        teacher_class_means(torch.zeros(2, 5, 1), torch.tensor([0, 1]), num_classes=2)
