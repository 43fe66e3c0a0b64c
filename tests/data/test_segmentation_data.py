"""Folders and zips of images and label maps: what is read, and what is said of bad files."""
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import CorruptImageError, OpenMMLabDataset, SegmentationFolder

CLASSES = ('sky', 'road', 'car')


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a', 'b', 'sub/c'):
        for folder, values, suffix in (('images', rng.integers(0, 256, (20, 30, 3)), 'jpg'),
                                       ('labels', rng.integers(0, 4, (20, 30)), 'png')):
            path = tmp_path / 'set' / folder / f'{name}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(path)
    return tmp_path / 'set'


def build(root, **options):
    return SegmentationFolder(root, CLASSES, **{'ignore_values': [3], **options})


def write(root, name, values):
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(root / 'labels' / name)


def stored(root, name):
    return np.asarray(Image.open(root / 'labels' / name))


def test_folder_zip_and_lists(root):
    dataset = build(root)
    assert dataset.pairs == [('images/a.jpg', 'labels/a.png'), ('images/b.jpg', 'labels/b.png'),
                             ('images/sub/c.jpg', 'labels/sub/c.png')]
    expected = np.where(stored(root, 'b.png') == 3, 255, stored(root, 'b.png'))
    assert np.array_equal(dataset.label_map(1), expected)
    with zipfile.ZipFile(root.with_name('z.zip'), 'w') as archive:
        for file in sorted(root.rglob('*.*')):
            archive.write(file, file.relative_to(root))
        archive.writestr('lists/two.txt', '../images/sub/c.jpg ../labels/sub/c.png\n')
    assert np.array_equal(build(root.with_name('z.zip')).label_map(1), expected)
    (root / 'stems.txt').write_text('b\nsub/c\n')
    (root / 'pairs.txt').write_text('images/b.jpg labels/b.png\n/images/sub/c.jpg /labels/sub/c.png\n')
    for name in ('stems.txt', 'pairs.txt'):
        assert build(root, split_list=name).pairs == dataset.pairs[1:]


def test_reduced_zero_label(root):
    write(root, 'a.png', np.arange(20 * 30).reshape(20, 30) % 4)
    dataset = SegmentationFolder(root, CLASSES, reduce_zero_label=True)
    assert np.array_equal(dataset.label_map(0), np.where(stored(root, 'a.png') == 0, 255, stored(root, 'a.png') - 1))


def test_samples(root):
    pytest.importorskip('mmseg')
    train = build(root, pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                                  dict(type='Resize', scale=(15, 10)), dict(type='PackSegInputs')])
    sample = train[0]
    assert sample['inputs'].shape == (3, 10, 15) and sample['data_samples'].gt_sem_seg.data.shape == (1, 10, 15)
    test = build(root, pipeline=[dict(type='Resize', scale=(15, 10)), dict(type='LoadAnnotations'),
                                 dict(type='PackSegInputs')], test_mode=True)
    sample = test[0]['data_samples']
    assert torch.equal(sample.gt_sem_seg.data[0], torch.from_numpy(test.label_map(0).astype(np.int64)))
    assert sample.metainfo['seg_map_path'].endswith('labels/a.png') and sample.metainfo['sample_idx'] == 0


def test_values_outside_the_classes(root):
    values = stored(root, 'b.png').copy()
    values[0, :5], values[1, 0] = 7, 200
    write(root, 'b.png', values)
    with pytest.raises(ValueError, match=r'b\.png has values outside the 3 classes: 7 \(5 pixels\), 200 \(1 pixels\)'):
        build(root)
    with pytest.raises(ValueError, match=r'b\.png has values'):
        build(root, check='none').record(1)
    with pytest.raises(ValueError, match=r'has values outside the 3 classes: 3 \('):
        build(root, ignore_values=[])
    with pytest.raises(ValueError, match=r'b\.png has values'):  # those of the file, not of the table
        SegmentationFolder(root, ('a', 'b', 'c', 'd'), reduce_zero_label=True)


def test_sizes_that_differ(root):
    write(root, 'b.png', np.zeros((20, 31)))
    for check in ('all', 'sizes'):
        with pytest.raises(ValueError, match=r'b\.png is 31x20, but its image .*b\.jpg is 30x20'):
            build(root, check=check)


def test_coloured_label_maps_are_refused(root):
    write(root, 'b.png', np.zeros((20, 30, 3)))
    with pytest.raises(ValueError, match=r'b\.png has shape \(20, 30, 3\)'):
        build(root)


def test_palette_and_wide_label_maps_are_numbers(root):
    values = stored(root, 'a.png')
    coloured = Image.fromarray(values)
    coloured.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    coloured.save(root / 'labels' / 'a.png')
    Image.fromarray(stored(root, 'b.png').astype(np.uint16)).save(root / 'labels' / 'b.png')
    dataset = build(root)
    assert np.array_equal(dataset.label_map(0), np.where(values == 3, 255, values))
    assert dataset.label_map(1).dtype == np.uint8


def test_maps_of_background_or_ignored_pixels_only(root):
    write(root, 'a.png', np.zeros((20, 30)))
    write(root, 'b.png', np.full((20, 30), 255))
    with pytest.warns(UserWarning, match=r'1 label maps hold nothing but ignored pixels \(.*b\.png\)'):
        dataset = build(root)
    assert len(dataset) == 3 and (dataset.label_map(1) == 255).all() and (dataset.label_map(0) == 0).all()


def test_missing_files(root, tmp_path):
    (root / 'labels' / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 pairs .*labels/b\.png'):
        build(root)
    with pytest.warns(UserWarning, match='left out'):
        assert len(build(root, on_error='skip')) == 2
    with pytest.raises(FileNotFoundError, match=r'no list .*none\.txt'):
        build(root, split_list='none.txt')
    with pytest.raises(FileNotFoundError, match='no images'):
        build(root, images='pictures')
    with pytest.raises(FileNotFoundError, match='no folder or zip'):
        build(tmp_path / 'nowhere')


@pytest.mark.parametrize('file', ['images/b.jpg', 'labels/b.png'])
@pytest.mark.parametrize('rest', [0, 100])
def test_corrupt_files(root, file, rest):
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[:rest])
    with pytest.raises(CorruptImageError, match=file.replace('.', r'\.')):
        build(root, check='all')[1]
    dataset = build(root, on_error='skip')
    with pytest.warns(UserWarning, match='Skipped'):
        assert dataset[1]['sample_idx'] == 2


def test_nothing_but_ignored_pixels_gives_no_nan(root):
    """The loss of mmseg's decode head and IoUMetric on a batch without a label."""
    pytest.importorskip('mmseg')
    from zoo.models import build_network
    from zoo.registry import MODELS
    for name in ('a.png', 'b.png'):
        write(root, name, np.full((20, 30), 255))
    with pytest.warns(UserWarning, match='2 label maps'):
        dataset = build(root, pipeline=[dict(type='LoadLabelMap'), dict(type='PackSegInputs')])
    preprocess = MODELS.build(dict(type='mmseg.SegDataPreProcessor', mean=(0,) * 3, std=(255,) * 3, size=(32, 32)))
    data = preprocess(dict(inputs=[dataset[k]['inputs'] for k in (0, 1)],
                           data_samples=[dataset[k]['data_samples'] for k in (0, 1)]), True)
    net = build_network(dict(type='MMSegModel', num_classes=3, model=dict(
        type='EncoderDecoder', backbone=dict(type='ResNet', depth=18, base_channels=4, norm_cfg=dict(type='BN')),
        decode_head=dict(type='FCNHead', in_channels=32, in_index=3, channels=8, num_convs=1, num_classes=3,
                         norm_cfg=dict(type='BN')), train_cfg={}, test_cfg=dict(mode='whole'))))
    with torch.no_grad():
        losses = net.loss(data['inputs'], data['data_samples'])
    assert float(losses['decode.loss_ce']) == 0 and torch.isfinite(losses['decode.acc_seg']).all()


# ---- mmseg's own

def test_mmsegs_data_sets_are_drawn_reproducibly_and_checked(root):
    pytest.importorskip('mmseg')
    for name in ('a', 'b'):
        write(root, f'{name}.png', stored(root, f'{name}.png') % 3)
    config = dict(type='mmseg.BaseSegDataset', data_root=str(root), data_prefix=dict(img_path='images', seg_map_path='labels'),
                  metainfo=dict(classes=CLASSES), pipeline=[
                      dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                      dict(type='CheckLabelMap', num_classes=3), dict(type='RandomCrop', crop_size=(8, 8)),
                      dict(type='PackSegInputs')])
    one, two = OpenMMLabDataset(config), OpenMMLabDataset(config, name='mine', subset=2)
    assert one.class_names == list(CLASSES) and two.name == 'mine' and len(two) == 2
    np.random.seed(1)
    first = one[0]
    np.random.seed(2)
    assert torch.equal(first['inputs'], one[0]['inputs']) and first['data_samples'].metainfo['sample_idx'] == 0
    one.set_epoch(1)
    draws = [one[0]['inputs']]
    one.set_epoch(2)
    draws.append(one[0]['inputs'])
    assert not (torch.equal(first['inputs'], draws[0]) and torch.equal(first['inputs'], draws[1]))
    with pytest.raises(ValueError, match=r'c\.png has values outside the 3 classes: 3 \('):
        one[2]
    with pytest.raises(FileNotFoundError, match='BaseSegDataset'):
        OpenMMLabDataset({**config, 'data_root': str(root / 'nowhere')})
    with pytest.raises(ValueError, match='with its scope'):
        OpenMMLabDataset(dict(type='CityscapesDataset'))
