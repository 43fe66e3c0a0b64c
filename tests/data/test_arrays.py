import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import zoo.data.arrays
from zoo.data import CIFAR10, ArrayDataset, Digits, NpzDataset, collate_batch, stratified_order, subset_positions

STRONG = [{'type': 'RandomCropFlip', 'padding': 2}, {'type': 'StrongAugment'}]


def made(count=40, size=8, classes=4, **options):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ArrayDataset(images, np.arange(count) % classes, [f'c{k}' for k in range(classes)], **options), images


def loaded(dataset, **options):
    batches = list(DataLoader(dataset, batch_size=8, collate_fn=collate_batch, **options))
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_importing_the_room_is_light():
    code = ("import sys, zoo.data; "
            "print([m for m in ('albumentations', 'torchvision', 'timm', 'sklearn') if m in sys.modules])")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'


def test_a_batch_is_a_gather_and_equals_single_samples():
    dataset, images = made()
    batch = dataset.__getitems__([3, 11, 3])
    assert torch.equal(batch['images'], torch.from_numpy(images[[3, 11, 3]]).permute(0, 3, 1, 2))
    assert batch['labels'].tolist() == [3, 3, 3] and batch['indices'].tolist() == [3, 11, 3]
    single = collate_batch([dataset[3], dataset[11], dataset[-37]])
    assert all(torch.equal(batch[key], single[key]) for key in batch)
    with pytest.raises(IndexError, match='no number 40'):
        dataset[40]


@pytest.mark.parametrize('layout', [(5, 6, 7), (5, 6, 7, 3), (5, 3, 6, 7), (5, 6, 7, 1)])
def test_layouts(layout):
    images = np.zeros(layout, dtype=np.uint8)
    channels = 3 if 3 in layout else 1
    assert ArrayDataset(images).images.shape == (5, channels, 6, 7)
    assert ArrayDataset(images, channels=3, pad=1).images.shape == (5, 3, 8, 9)
    assert ArrayDataset(images, size=4).images.shape == (5, channels, 4, 4)


@pytest.mark.parametrize('arguments, message', [
    ((np.zeros((2, 4, 4)),), 'uint8'),
    ((np.zeros((2, 4, 4, 5), np.uint8),), r'\(N, H, W\)'),
    ((np.zeros((2, 4, 4), np.uint8), [0]), '2 images'),
    ((np.zeros((2, 4, 4), np.uint8), [0, 5], ['a', 'b']), '2 class names'),
])
def test_bad_arrays(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(*arguments)


def test_digits_split_is_fixed_disjoint_and_real():
    train, test = Digits(train=True, size=8, channels=1), Digits(train=False, size=8, channels=1)
    assert (len(train), len(test)) == (1437, 360)
    assert min(test.labels.bincount()) >= 35 and train.num_classes == 10 and train.name == 'digits'
    # the split must never move, or results stop being comparable
    assert int((test.images.long().sum((1, 2, 3)) * torch.arange(1, 361)).sum()) == SPLIT_SUM
    distance = torch.cdist(test.images.flatten(1).float(), train.images.flatten(1).float())
    nearest = train.labels[distance.argmin(1)]
    # images that are the same on both sides would make this 1; mixed up labels would make it 0.1
    assert 0.95 < (nearest == test.labels).float().mean() < 1
    assert Digits(train=False).images.shape == (360, 3, 16, 16)


SPLIT_SUM = 322870491


def test_stratified_order_has_proportional_beginnings():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(labels, seed=1)
    assert order.sort().values.tolist() == list(range(100))
    for count in (10, 20, 50, 90):
        counts = labels[order[:count]].bincount(minlength=3)
        assert (counts - torch.tensor([0.6, 0.3, 0.1]) * count).abs().max() <= 1.5
    assert not torch.equal(order, stratified_order(labels, seed=2))
    assert torch.equal(order, stratified_order(labels, seed=1))


def test_subset_is_stratified_nested_and_seeded():
    small, _ = made(subset=8)
    large, _ = made(subset=0.5)
    assert small.labels.bincount().tolist() == [2] * 4 and large.labels.bincount().tolist() == [5] * 4
    inside = {tuple(image.flatten().tolist()) for image in large.images}
    assert all(tuple(image.flatten().tolist()) in inside for image in small.images)
    other, _ = made(subset=8, subset_seed=1)
    assert not torch.equal(small.images, other.images)
    assert small[7]['indices'] == 7
    hidden, _ = made(subset=8, labelled=False)
    assert torch.equal(hidden.images, small.images) and hidden.labels is None and 'labels' not in hidden[0]
    assert hidden.num_classes == 4


@pytest.mark.parametrize('subset', [0, 41, 1.5, 0.0, True, 'all'])
def test_subset_refuses(subset):
    with pytest.raises(ValueError, match='subset'):
        subset_positions(torch.arange(40) % 4, 40, subset)


def test_npz(tmp_path):
    rng = np.random.default_rng(0)
    parts = {f'x_{s}': rng.integers(0, 256, (n, 6, 6), dtype=np.uint8) for s, n in (('train', 5), ('test', 3))}
    np.savez(tmp_path / 'toy.npz', y_train=np.arange(5) % 2, y_test=np.arange(3) % 2, class_names=['a', 'b'], **parts)
    dataset = NpzDataset(tmp_path / 'toy.npz', train=False, channels=3)
    assert dataset.name == 'toy' and dataset.class_names == ['a', 'b'] and dataset.images.shape == (3, 3, 6, 6)
    assert np.array_equal(dataset.images[:, 1].numpy(), parts['x_test'])
    with pytest.raises(FileNotFoundError, match=r'nothing\.npz'):
        NpzDataset(tmp_path / 'nothing.npz')
    np.savez(tmp_path / 'half.npz', x_train=parts['x_train'])
    with pytest.raises(ValueError, match='lacks y_train'):
        NpzDataset(tmp_path / 'half.npz')
    (tmp_path / 'text.npz').write_text('no archive')
    with pytest.raises(ValueError, match='cannot be read'):
        NpzDataset(tmp_path / 'text.npz')


def test_cifar_is_torchvisions(tmp_path, monkeypatch):
    import torchvision

    class Source:
        classes = ['x', 'y']

        def __init__(self, root, train, download):
            self.data, self.targets = np.full((2, 4, 4, 3), 9 if train else 8, np.uint8), [0, 1]

    with pytest.raises(FileNotFoundError, match='download=True'):
        CIFAR10(tmp_path)
    monkeypatch.setattr(torchvision.datasets, 'CIFAR100', Source)
    dataset = zoo.data.arrays.CIFAR100(tmp_path, train=False)
    assert dataset.name == 'CIFAR-100' and dataset.images.unique().tolist() == [8]


def test_views_differ_from_each_other_and_start_from_the_stored_image():
    dataset, _ = made(views={'strong': STRONG, 'plain': []})
    batch = dataset.__getitems__([0, 1])
    assert set(batch) == {'images', 'images_strong', 'images_plain', 'labels', 'indices'}
    assert torch.equal(batch['images'], batch['images_plain'])
    assert not torch.equal(batch['images'], batch['images_strong'])
    # same pipeline, other view: other draws
    twins, _ = made(views={'one': STRONG, 'two': STRONG})
    batch = twins.__getitems__([0, 1])
    assert not torch.equal(batch['images_one'], batch['images_two'])
    with pytest.raises(ValueError, match='views'):
        made(views=[STRONG])


def test_draws_depend_on_seed_epoch_and_index_only():
    dataset, _ = made(transforms=STRONG, views={'strong': STRONG})
    alone, workers = loaded(dataset), loaded(dataset, num_workers=2)
    assert all(torch.equal(alone[key], workers[key]) for key in alone)
    # order and neighbours do not matter
    assert torch.equal(dataset.__getitems__([9, 4])['images'][1], alone['images'][4])
    dataset.set_epoch(1)
    later = loaded(dataset)
    assert not torch.equal(later['images'], alone['images'])
    dataset.set_epoch(0)
    assert torch.equal(loaded(dataset)['images'], alone['images'])
    other, _ = made(transforms=STRONG, seed=1)
    assert not torch.equal(loaded(other)['images'], alone['images'])


def test_persistent_workers_see_the_epoch():
    dataset, _ = made(16, transforms=STRONG)
    loader = DataLoader(dataset, batch_size=8, num_workers=1, persistent_workers=True, collate_fn=collate_batch)
    seen = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        seen.append(torch.cat([batch['images'] for batch in loader]))
        assert torch.equal(seen[-1], loaded(dataset)['images'])
    assert not torch.equal(*seen)


@pytest.mark.parametrize('seed', [-1, 0.5, True])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match='seed'):
        made(seed=seed)
