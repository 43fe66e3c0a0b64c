import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from zoo.data import Digits, DigitScenes

DETECTION = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True), dict(type='PackDetInputs')]
SEGMENTATION = [dict(type='LoadLabelMap'), dict(type='PackSegInputs')]


@pytest.fixture(scope='module')
def scenes():
    return DigitScenes(scenes=40)


def test_the_same_scenes_whenever_they_are_drawn(scenes):
    other = pickle.loads(pickle.dumps(DigitScenes(scenes=7)))
    other.scene(6)
    for index in (3, 0, 3):
        for one, two in zip(scenes.scene(index), other.scene(index)):
            assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two
    assert not np.array_equal(scenes.scene(0)[0], scenes.scene(1)[0])
    assert not np.array_equal(DigitScenes(scenes=1, scene_seed=1).scene(0)[0], scenes.scene(0)[0])
    assert not np.array_equal(DigitScenes(train=False, scenes=1).scene(0)[0], scenes.scene(0)[0])


def test_scans_of_the_two_sides_are_those_of_digits_and_disjoint():
    train, val = DigitScenes(train=True, scenes=1), DigitScenes(train=False, scenes=1)
    assert len(train._scans) == 1437 and len(val._scans) == 360
    for dataset, side in ((train, True), (val, False)):
        assert np.array_equal(dataset._scans, Digits(train=side, size=8, channels=1).images[:, 0].numpy() / np.float32(255))
    # Digits' test positions are not among its train positions, whatever the pictures look like
    assert len(train) == 1 and len(DigitScenes()) == 600 and len(DigitScenes(train=False)) == 150


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([48, 96, 128]))
def test_boxes_masks_and_label_map_agree(seed, size):
    from pycocotools import mask as run_lengths
    dataset = DigitScenes(scenes=1, size=size, scene_seed=seed)
    image, label_map, instances = dataset.scene(0)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert label_map.shape == (size, size) and set(np.unique(label_map)) <= {*range(11), 255}
    assert 1 <= len(instances) <= 5
    union = np.zeros((size, size), int)
    for instance in instances:
        mask = run_lengths.decode(instance['mask']).astype(bool)
        union += mask
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert instance['bbox'] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # a visible digit's pixels carry its class
        assert set(np.unique(label_map[mask])) <= {1 + instance['bbox_label']}
        assert mask.sum() >= 10
    assert union.max() <= 1  # what one digit hides of another is not the other's
    digits = (label_map > 0) & (label_map < 255)
    assert (digits == (union == 1)).mean() > 0.97


def test_samples_of_detection():
    pytest.importorskip('mmdet')
    sample = DigitScenes(scenes=3, pipeline=DETECTION)[2]
    assert sample['inputs'].shape == (3, 96, 96) and sample['inputs'].dtype == torch.uint8
    plain = DigitScenes(scenes=3).scene(2)
    assert np.array_equal(sample['inputs'].permute(1, 2, 0).numpy()[:, :, ::-1], plain[0])  # BGR
    found = sample['data_samples'].gt_instances
    assert torch.equal(found.bboxes.tensor, torch.tensor([one['bbox'] for one in plain[2]]))
    assert found.labels.tolist() == [one['bbox_label'] for one in plain[2]] and found.masks.masks.shape[1:] == (96, 96)
    facts = sample['data_samples'].metainfo
    assert facts['sample_idx'] == 2 and facts['img_shape'] == facts['ori_shape'] == (96, 96) and 'instances' not in facts
    facts = DigitScenes(train=False, scenes=3, pipeline=DETECTION)[1]['data_samples'].metainfo
    assert [one['bbox_label'] for one in facts['instances']] == DigitScenes(train=False, scenes=3).get_cat_ids(1)


def test_samples_of_segmentation():
    pytest.importorskip('mmseg')
    dataset = DigitScenes(scenes=3, form='segmentation', pipeline=SEGMENTATION)
    sample = dataset[0]
    assert np.array_equal(sample['data_samples'].gt_sem_seg.data[0].numpy(), dataset.scene(0)[1])
    assert dataset.metainfo['classes'] == ('background', *map(str, range(10))) and len(dataset.palette) == 11


@pytest.mark.parametrize('workers', [0, 2])
def test_draws_depend_on_seed_epoch_and_index_alone(workers):
    pytest.importorskip('mmseg')
    pipeline = [dict(type='LoadLabelMap'), dict(type='RandomCrop', crop_size=(32, 32)), dict(type='PhotoMetricDistortion'),
                dict(type='DenseAlbumentations', transforms=[dict(type='A.Rotate', p=1.0)]), dict(type='PackSegInputs')]

    def run(seed=0, epoch=0, order=range(6)):
        dataset = DigitScenes(scenes=6, size=48, form='segmentation', pipeline=pipeline, seed=seed)
        dataset.set_epoch(epoch)
        np.random.seed(len(order))
        loader = DataLoader(dataset, batch_size=2, sampler=list(order), num_workers=workers, collate_fn=list)
        samples = [sample for batch in loader for sample in batch]
        return {s['data_samples'].metainfo['sample_idx']: (s['inputs'], s['data_samples'].gt_sem_seg.data) for s in samples}

    def same(one, two):
        return [torch.equal(one[k][0], two[k][0]) and torch.equal(one[k][1], two[k][1]) for k in sorted(one)]

    first = run()
    assert all(same(first, run(order=range(5, -1, -1))))
    assert not any(same(first, run(epoch=1))) and not any(same(first, run(seed=1)))


def test_global_generators_are_left_alone():
    pytest.importorskip('mmdet')
    dataset = DigitScenes(scenes=2, pipeline=[dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),
                                              dict(type='PackDetInputs')])
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(()).item()
    np.random.seed(3)
    torch.manual_seed(3)
    dataset[0]
    assert (np.random.rand(), torch.rand(()).item()) == expected


@pytest.mark.parametrize('options', [dict(form='boxes'), dict(size=16), dict(digits=(0, 2)), dict(digit_size=(4, 20)),
                                     dict(digit_size=(20, 95)), dict(scenes=0)])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=r'form|DigitScenes'):
        DigitScenes(**options)
