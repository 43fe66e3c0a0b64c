import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from zoo.data import CorruptImageError, ImageFolder, collate_batch


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (('train', 4), ('test', 2)):
        for entry in ('cat', 'dog', 'eel'):
            folder = tmp_path / 'set' / split / entry
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f'{number}.png')
    (tmp_path / 'set' / 'train' / 'cat' / 'notes.txt').write_text('no image')
    return tmp_path / 'set'


def zipped(root, compression=zipfile.ZIP_STORED):
    path = root.with_suffix('.zip')
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for file in sorted(root.rglob('*')):
            if file.is_file():
                archive.write(file, file.relative_to(root))
    return path


def all_of(dataset, **options):
    batches = list(DataLoader(dataset, batch_size=5, collate_fn=collate_batch, **options))
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_folder_and_zip_hold_the_same(root, compression):
    folder, archive = ImageFolder(root, 'train'), ImageFolder(zipped(root, compression), 'train')
    assert folder.class_names == archive.class_names == ['cat', 'dog', 'eel'] and len(folder) == 12
    assert folder.files == archive.files and folder.files[5] == 'train/dog/1.png'
    one, two = all_of(folder), all_of(archive)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert one['images'].shape == (12, 3, 8, 8) and one['images'].dtype == torch.uint8
    assert torch.equal(one['labels'], folder.labels)
    direct = np.asarray(Image.open(root / 'train/dog/1.png'))
    assert np.array_equal(one['images'][5].permute(1, 2, 0).numpy(), direct)


def test_zip_in_workers_and_pickled_after_use(root):
    dataset = ImageFolder(zipped(root), 'train', [{'type': 'StrongAugment'}], views={'strong': []})
    alone = all_of(dataset)
    assert dataset._archive is not None
    workers = all_of(dataset, num_workers=2)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy._archive is None
    copied = all_of(copy)
    assert all(torch.equal(alone[key], workers[key]) and torch.equal(alone[key], copied[key]) for key in alone)
    assert not torch.equal(alone['images'], alone['images_strong'])


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes({'truncated': data[:len(data) // 2], 'empty': b'', 'text': b'not an image'}[how])


@pytest.mark.parametrize('how', ['truncated', 'empty', 'text'])
@pytest.mark.parametrize('as_zip', [False, True])
def test_corrupt_image_is_named_or_skipped(root, how, as_zip):
    damage(root / 'train/cat/3.png', how)
    place = zipped(root) if as_zip else root
    with pytest.raises(CorruptImageError, match=r'train/cat/3\.png.*on_error'):
        ImageFolder(place, 'train')[3]
    dataset = ImageFolder(place, 'train', on_error='skip')
    with pytest.warns(UserWarning, match=r'train/cat/3\.png') as caught:
        sample = dataset[3]
        dataset[3]
    assert len(caught) == 1 and dataset.skipped == 1
    # the next image, with its own label and index
    assert sample['labels'] == 1 and sample['indices'] == 4
    assert torch.equal(sample['images'], dataset[4]['images'])


def test_bad_member_sum_in_a_zip(root):
    path = zipped(root)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo('train/cat/0.png')
    # the last bytes of a png are its end mark, which Pillow does not need
    end = info.header_offset + 30 + len(info.filename) + info.compress_size
    data[end - 1] ^= 255
    path.write_bytes(data)
    with pytest.raises(CorruptImageError, match=r'train/cat/0\.png'):
        ImageFolder(path, 'train')[0]


@pytest.mark.filterwarnings('ignore:Skipped')
def test_skipping_counts_across_workers_and_gives_up_when_nothing_is_left(root):
    for entry in ('cat', 'dog'):
        damage(root / f'train/{entry}/0.png', 'text')
    dataset = ImageFolder(root, 'train', on_error='skip')
    all_of(dataset, num_workers=2)
    assert dataset.skipped == 2
    for file in (root / 'test').rglob('*.png'):
        damage(file, 'text')
    with pytest.raises(CorruptImageError, match='None of the 6'):
        ImageFolder(root, 'test', on_error='skip')[0]


def test_missing_places_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        ImageFolder(tmp_path / 'nowhere')
    for place in (root, zipped(root)):
        with pytest.raises(FileNotFoundError, match="no folder 'val'; it has test, train"):
            ImageFolder(place, 'val')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no class folders'):
        ImageFolder(tmp_path / 'empty')
    (tmp_path / 'empty' / 'cat').mkdir()
    with pytest.raises(FileNotFoundError, match='no images'):
        ImageFolder(tmp_path / 'empty')
    (tmp_path / 'file').write_text('x')
    with pytest.raises(FileNotFoundError, match='neither'):
        ImageFolder(tmp_path / 'file')
    with pytest.raises(ValueError, match='on_error'):
        ImageFolder(root, 'train', on_error='ignore')


def test_subset_and_labels(root):
    dataset = ImageFolder(root, 'train', subset=6, labelled=False)
    assert len(dataset) == 6 and dataset.labels is None and 'labels' not in dataset[0]
    kept = ImageFolder(root, 'train', subset=6)
    assert kept.labels.bincount().tolist() == [2, 2, 2] and kept.files == dataset.files


def test_each_process_opens_its_own_archive(root, monkeypatch):
    dataset = ImageFolder(zipped(root), 'train')
    first = dataset._zip()
    assert dataset._zip() is first
    # what a worker sees after a fork: the parent's handle, another process number
    monkeypatch.setattr('os.getpid', lambda: -1)
    assert dataset._zip() is not first and dataset._zip() is dataset._zip()
