import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import CheckLabelMap, DenseAlbumentations, DensePipeline, DigitScenes, OpenMMLabDataset, check_label_map
from zoo.registry import UnknownNameError

FLIP = [dict(type='A.HorizontalFlip', p=1.0)]


def results(**more):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return dict(img=image, img_shape=(20, 30), **more)


# ---- albumentations

def test_a_flip_takes_everything_along():
    labels = np.arange(600).reshape(20, 30).astype(np.uint8) % 7
    boxes = np.array([[2, 3, 10, 12], [20, 0, 30, 5]], np.float32)
    given_ = results(gt_seg_map=labels, seg_fields=['gt_seg_map'], gt_bboxes=boxes, gt_bboxes_labels=np.array([4, 1]),
                     gt_ignore_flags=np.array([False, True]))
    image = given_['img'].copy()
    done = DenseAlbumentations(FLIP)(given_)
    assert np.array_equal(done['img'], image[:, ::-1]) and np.array_equal(done['gt_seg_map'], labels[:, ::-1])
    assert np.allclose(done['gt_bboxes'], [[20, 3, 28, 12], [0, 0, 10, 5]])
    assert done['gt_bboxes_labels'].tolist() == [4, 1] and done['gt_ignore_flags'].tolist() == [False, True]


def test_a_crop_drops_lost_boxes_with_their_labels():
    boxes = np.array([[0, 0, 5, 5], [12, 12, 18, 18], [14, 2, 29, 4]], np.float32)
    crop = DenseAlbumentations([dict(type='A.Crop', x_min=10, y_min=10, x_max=20, y_max=20, p=1.0)])
    done = crop(results(gt_bboxes=boxes, gt_bboxes_labels=np.array([5, 6, 7]), gt_ignore_flags=np.zeros(3, bool)))
    assert np.allclose(done['gt_bboxes'], [[2, 2, 8, 8]]) and done['gt_bboxes_labels'].tolist() == [6]
    assert done['gt_ignore_flags'].shape == (1,) and done['img_shape'] == (10, 10)
    alone = dict(gt_bboxes=boxes[:1], gt_bboxes_labels=np.array([5]), gt_ignore_flags=np.zeros(1, bool))
    empty = crop(results(**alone))
    assert empty['gt_bboxes'].shape == (0, 4) and empty['gt_bboxes_labels'].shape == (0,)
    skipping = DenseAlbumentations([dict(type='A.Crop', x_min=10, y_min=10, x_max=20, y_max=20, p=1.0)], skip_empty=True)
    assert skipping(results(**alone)) is None
    # an image that had none is no loss
    none = dict(gt_bboxes=np.zeros((0, 4), np.float32), gt_bboxes_labels=np.zeros(0, np.int64))
    assert skipping(results(**none))['gt_bboxes'].shape == (0, 4)


def test_outside_the_image_label_maps_are_ignored():
    turned = DenseAlbumentations([dict(type='A.Rotate', limit=(45, 45), p=1.0)])(
        results(gt_seg_map=np.ones((20, 30), np.uint8), seg_fields=['gt_seg_map']))
    assert set(np.unique(turned['gt_seg_map'])) == {1, 255} and turned['gt_seg_map'][0, 0] == 255
    one_of = dict(type='A.OneOf', transforms=[dict(type='A.Rotate', limit=(45, 45))], p=1.0)
    nested = DenseAlbumentations([one_of], fill_label=9)(
        results(gt_seg_map=np.ones((20, 30), np.uint8), seg_fields=['gt_seg_map']))
    assert set(np.unique(nested['gt_seg_map'])) == {1, 9}


def test_colours_alone_move_nothing():
    boxes = np.array([[-3, 0, 5, 500]], np.float32)
    done = DenseAlbumentations([dict(type='A.RandomBrightnessContrast', p=1.0)])(
        results(gt_bboxes=boxes, gt_bboxes_labels=np.array([1])))
    assert np.array_equal(done['gt_bboxes'], boxes)


def test_draws_come_from_numpys_generator():
    step = DenseAlbumentations([dict(type='A.RandomCrop', height=8, width=8), dict(type='A.ColorJitter', p=0.5)])
    runs = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        runs.append([step(results())['img'] for _ in range(4)])
    same = [all(np.array_equal(a, b) for a, b in zip(runs[0], run)) for run in runs]
    assert same == [True, True, False]


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_boxes_hold_their_masks(seed):
    pytest.importorskip('mmdet')
    dataset = DigitScenes(scenes=1, size=64, scene_seed=seed, seed=seed, pipeline=[
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='DenseAlbumentations', transforms=[
            dict(type='A.Affine', rotate=(-20, 20), scale=(0.7, 1.4), translate_percent=(-0.3, 0.3), p=0.8),
            dict(type='A.RandomCrop', height=48, width=56, p=0.5)])])
    done = dataset[0]
    boxes, masks = done['gt_bboxes'].tensor, done['gt_masks'].masks
    assert len(boxes) == len(masks) == len(done['gt_bboxes_labels']) == len(done['gt_ignore_flags'])
    height, width = done['img_shape']
    assert done['img'].shape[:2] == (height, width) and (len(masks) == 0 or masks.shape[1:] == (height, width))
    for box, mask in zip(boxes, masks):
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
        rows, columns = np.nonzero(mask)
        if len(rows):  # resampling may move an edge by a pixel
            assert columns.min() >= box[0] - 2 and rows.min() >= box[1] - 2
            assert columns.max() + 1 <= box[2] + 2 and rows.max() + 1 <= box[3] + 2


def test_unknown_transforms_and_arguments():
    with pytest.raises(UnknownNameError, match='HorizontalFlip'):
        DenseAlbumentations([dict(type='A.HorizontlFlip')])
    with pytest.raises(ValueError, match=r'A\.Rotate'):
        DenseAlbumentations([dict(type='A.Rotate', limits=3)])


# ---- label maps

def test_checks_of_label_maps():
    good = np.array([[0, 1], [2, 255]], np.uint8)
    check_label_map(good, 3, 255, path='x.png', image_size=(2, 2))
    with pytest.raises(ValueError, match=r'x\.png has values outside the 2 classes: 2 \(1 pixels\)'):
        check_label_map(good, 2, 255, path='x.png')
    with pytest.raises(ValueError, match=r'255 \(1 pixels\)'):
        check_label_map(good.astype(np.int64), 3, 0, path='x.png')
    with pytest.raises(ValueError, match=r'-1 \(4 pixels\)'):
        check_label_map(-np.ones((2, 2), np.int16), 3, 255, path='x.png')
    with pytest.raises(ValueError, match='2x2, but its image y is 4x3'):
        check_label_map(good, 3, 255, path='x.png', image_size=(3, 4), image_path='y')
    step = CheckLabelMap(3)
    record = dict(img=np.zeros((4, 4, 3)), ori_shape=(2, 2), gt_seg_map=good, seg_map_path='x.png')
    assert step(record) is record
    with pytest.raises(ValueError, match='4x4'):
        CheckLabelMap(3, size='present')(record)
    with pytest.raises(ValueError, match='size must be'):
        CheckLabelMap(3, size='new')


# ---- pipelines

def test_names_mean_the_library_and_nested_ones_too():
    pytest.importorskip('mmdet')
    from mmdet.datasets import transforms
    pipeline = DensePipeline([dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=1.0),
                              dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=(8, 8))]])], 'mmdet')
    assert [type(step).__name__ for step in pipeline.steps] == ['RandomFlip', 'RandomChoice']
    assert type(pipeline.steps[0]) is transforms.RandomFlip
    assert type(pipeline.steps[1].transforms[0].transforms[0]) is transforms.Resize
    with pytest.raises(UnknownNameError, match='Did you mean PackDetInputs'):
        DensePipeline([dict(type='PackDetInput')], 'mmdet')
    with pytest.raises(ValueError, match='needs a type'):
        DensePipeline([dict(prob=1)], 'mmdet')
    with pytest.raises(ValueError, match='must be a list'):
        DensePipeline(dict(type='RandomFlip'), 'mmdet')


def test_mosaics_of_a_zoo_data_set():
    pytest.importorskip('mmdet')
    dataset = OpenMMLabDataset(dict(
        type='mmdet.MultiImageMixDataset',
        dataset=dict(type='zoo.DigitScenes', scenes=6, size=48, pipeline=[
            dict(type='LoadAnnotations', with_bbox=True), dict(type='RandomFlip', prob=0.5)]),
        pipeline=[dict(type='Mosaic', img_scale=(48, 48)), dict(type='PackDetInputs')]))
    first = dataset[0]
    assert first['inputs'].shape == (3, 96, 96) and dataset.class_names == [str(k) for k in range(10)]
    assert torch.equal(first['inputs'], dataset[0]['inputs'])
    dataset.set_epoch(1)
    assert dataset.dataset.dataset.epoch == 1 and not torch.equal(first['inputs'], dataset[0]['inputs'])
