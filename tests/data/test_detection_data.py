"""COCO and VOC readers: what they read, and what they say of bad files."""
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.data import BoxReport, CocoDetection, CorruptImageError, UnknownCategoryError, VocDetection, clean_box

CLASSES = ('cat', 'dog')


def zipped(root):
    path = root.with_name(f'{root.name}.zip')
    with zipfile.ZipFile(path, 'w') as archive:
        for file in sorted(root.rglob('*')):
            if file.is_file():
                archive.write(file, file.relative_to(root))
    return path


def picture(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def xml(path, boxes, size=(60, 40)):
    objects = ''.join(f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
                      f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>' for name, difficult, (x1, y1, x2, y2) in boxes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>')


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'voc'
    boxes = dict(a=[('cat', 0, (11, 6, 31, 26)), ('dog', 1, (1, 1, 60, 40))], b=[('dog', 0, (5, 5, 20, 30))], c=[])
    for name, entries in boxes.items():
        picture(root / 'JPEGImages' / f'{name}.png')
        xml(root / 'Annotations' / f'{name}.xml', entries)
    (root / 'ImageSets' / 'Main').mkdir(parents=True)
    (root / 'ImageSets' / 'Main' / 'train.txt').write_text('a\nb\nc\n')
    return root


def coco_facts():
    return dict(
        images=[dict(id=7, file_name='a.png', width=60, height=40), dict(id=3, file_name='b.png', width=60, height=40)],
        categories=[dict(id=9, name='dog'), dict(id=4, name='cat')],
        annotations=[dict(id=1, image_id=7, category_id=4, bbox=[10, 5, 20, 20], area=400, iscrowd=0,
                          segmentation=[[10, 5, 30, 5, 30, 25, 10, 25]]),
                     dict(id=2, image_id=7, category_id=9, bbox=[0, 0, 59, 39], area=9, iscrowd=1,
                          segmentation=dict(size=[40, 60], counts=[0, 2400]))])


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / 'coco'
    for name in ('a', 'b'):
        picture(root / 'images' / f'{name}.png')
    (root / 'x.json').write_text(json.dumps(coco_facts()))
    return root


def change(root, edit):
    facts = coco_facts()
    edit(facts)
    (root / 'x.json').write_text(json.dumps(facts))
    return root


# ---- reading

def test_voc_from_folder_and_zip(voc):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        folder, archive = VocDetection(voc, 'train', CLASSES), VocDetection(zipped(voc), 'train', CLASSES)
    for dataset in (folder, pickle.loads(pickle.dumps(archive))):
        assert len(dataset) == 3 and dataset.name == 'voc'
        record = dataset.record(0)
        assert np.array_equal(record['img'][:, :, ::-1], np.asarray(Image.open(voc / 'JPEGImages/a.png')))
        # mmdet's convention: 1 less on all sides
        assert record['instances'] == [dict(bbox=[10, 5, 30, 25], bbox_label=0, ignore_flag=0),
                                       dict(bbox=[0, 0, 59, 39], bbox_label=1, ignore_flag=1)]
        assert dataset.get_cat_ids(0) == [0, 1] and dataset.get_data_info(2)['instances'] == []
    assert len(VocDetection(voc, 'train', CLASSES, drop_empty=True)) == 2
    assert len(VocDetection(voc, 'train', CLASSES, subset=2)) == 2


def test_a_zip_beside_the_missing_folder_is_taken(voc):
    zipped(voc).rename(voc.parent / 'other.zip')
    assert len(VocDetection(voc.parent / 'other', 'train', CLASSES)) == 3


def test_boxes_equal_mmdets_own_reader(voc):
    pytest.importorskip('mmdet')
    from zoo.models.openmmlab import require
    require('mmdet')
    from mmdet.datasets import XMLDataset
    (voc / 'JPEGImages').rename(voc / 'pictures')
    (voc / 'JPEGImages').mkdir()
    for file in sorted((voc / 'pictures').iterdir()):
        Image.open(file).save(voc / 'JPEGImages' / f'{file.stem}.jpg')
    theirs = XMLDataset(ann_file=str(voc / 'ImageSets/Main/train.txt'), data_prefix=dict(sub_data_root=str(voc)),
                        metainfo=dict(classes=CLASSES))
    ours = VocDetection(voc, 'train', CLASSES)
    for k in range(3):
        assert theirs.get_data_info(k)['instances'] == ours.instances(k)


@pytest.mark.parametrize('archive', [False, True])
def test_coco(coco, archive):
    dataset = CocoDetection(zipped(coco) if archive else coco, 'x.json', 'images', masks=True)
    assert dataset.class_names == ['cat', 'dog'] and len(dataset) == 2  # by the ids' order
    record = dataset.record(0)
    assert record['img_id'] == 7
    assert [(box['bbox'], box['bbox_label'], box['ignore_flag']) for box in record['instances']] == \
        [([10, 5, 30, 25], 0, 0), ([0, 0, 59, 39], 1, 1)]
    assert len(CocoDetection(coco, 'x.json', 'images', drop_empty=True)) == 1
    with pytest.warns(UserWarning, match='objects of other categories ignored: 1'):
        assert CocoDetection(coco, 'x.json', 'images', classes=['dog']).class_names == ['dog']


def test_coco_masks_and_metric_without_annotation_file(coco):
    pytest.importorskip('mmdet')
    from mmengine.structures import InstanceData

    from zoo.registry import METRICS
    pipeline = [dict(type='Resize', scale=(30, 20)), dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs')]
    dataset = CocoDetection(coco, 'x.json', 'images', pipeline=pipeline, test_mode=True)
    metric = METRICS.build(dict(type='mmdet.CocoMetric', metric='bbox'))
    metric.dataset_meta = dataset.metainfo
    for k in range(2):
        sample = dataset[k]['data_samples']
        truth = sample.gt_instances
        assert sample.scale_factor == (0.5, 0.5)
        boxes = truth.bboxes.tensor  # of the original size: loaded behind the resizing
        sample.pred_instances = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)), labels=truth.labels)
        metric.process({}, [sample.to_dict()])
    assert metric.evaluate(2)['coco/bbox_mAP'] == 1.0
    loaded = CocoDetection(coco, 'x.json', 'images', masks=True, pipeline=[
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True), dict(type='PackDetInputs')])[0]
    masks = loaded['data_samples'].gt_instances.masks.masks
    assert masks.shape == (1, 40, 60) and masks[0, 5:25, 10:30].all() and masks.sum() == 400


# ---- bad boxes

def test_boxes_without_area_are_dropped_with_one_warning(voc):
    xml(voc / 'Annotations' / 'a.xml', [('cat', 0, (11, 6, 11, 6)), ('cat', 0, (11, 6, 31, 26))])
    xml(voc / 'Annotations' / 'b.xml', [('dog', 0, (30, 5, 20, 30)), ('dog', 0, (-20, 5, 20, 30)),
                                        ('dog', 0, (70, 50, 80, 60))])
    with pytest.warns(UserWarning) as caught:
        dataset = VocDetection(voc, 'train', CLASSES)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert 'boxes without area dropped: 2 (a.xml: cat [10, 5, 10, 5]; b.xml: dog [29, 4, 19, 29])' in text
    assert 'boxes clipped to their image: 1 (b.xml' in text and 'boxes outside their image dropped: 1 (b.xml' in text
    assert [len(dataset.instances(k)) for k in range(3)] == [1, 1, 0]
    assert dataset.instances(1)[0]['bbox'] == [0, 4, 19, 29]


@given(st.lists(st.floats(-50, 150) | st.just(float('nan')), min_size=4, max_size=4),
       st.integers(1, 80), st.integers(1, 80))
def test_what_is_left_of_a_box_lies_in_the_image(box, width, height):
    report = BoxReport('x')
    clean = clean_box(box, width, height, report, 'a')
    if clean is None:
        assert report.cases
    else:
        assert 0 <= clean[0] <= clean[2] - 1 <= width - 1 and 0 <= clean[1] <= clean[3] - 1 <= height - 1
        assert clean == box or clean[0] >= box[0] - 1e-9
        assert clean_box(clean, width, height, BoxReport('y'), 'a') == clean


# ---- bad files

def test_unknown_categories(voc, coco):
    xml(voc / 'Annotations' / 'b.xml', [('catt', 0, (5, 5, 20, 30))])
    with pytest.raises(UnknownCategoryError, match=r"b.xml .*'catt'; did you mean cat\? The classes are cat, dog"):
        VocDetection(voc, 'train', CLASSES)
    with pytest.warns(UserWarning, match='objects of other categories ignored: 1'):
        assert VocDetection(voc, 'train', CLASSES, unknown='ignore').instances(1) == []
    with pytest.raises(ValueError, match=r"no category 'catt'; near ones are cat\."):
        CocoDetection(coco, 'x.json', 'images', classes=['catt'])
    change(coco, lambda facts: facts['annotations'][1].update(category_id=5))
    with pytest.raises(UnknownCategoryError, match=r'Annotation 2 .*category_id 5; the file declares 4 \(cat\), 9 \(dog\)'):
        CocoDetection(coco, 'x.json', 'images')


def test_missing_images(voc, coco):
    (voc / 'JPEGImages' / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 annotated images are missing: .*b\.jpg \(of .*b\.xml\)'):
        VocDetection(voc, 'train', CLASSES)
    with pytest.warns(UserWarning, match='missing and left out'):
        assert len(VocDetection(voc, 'train', CLASSES, on_error='skip')) == 2
    with pytest.raises(FileNotFoundError):  # an evaluation is whole or not at all
        VocDetection(voc, 'train', CLASSES, on_error='skip', test_mode=True)
    (coco / 'images' / 'a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'a\.png \(of .*x\.json\)'):
        CocoDetection(coco, 'x.json', 'images')
    with pytest.warns(UserWarning, match='left out'):
        assert len(CocoDetection(coco, 'x.json', 'images', on_error='skip')) == 1


def test_missing_and_broken_annotations(voc, coco, tmp_path):
    with pytest.raises(FileNotFoundError, match='there are train'):
        VocDetection(voc, 'trian', CLASSES)
    with pytest.raises(FileNotFoundError, match='no folder or zip file'):
        VocDetection(tmp_path / 'nowhere', 'train', CLASSES)
    (voc / 'Annotations' / 'b.xml').write_text('<annotation><object>')
    with pytest.raises(ValueError, match=r'b\.xml cannot be read'):
        VocDetection(voc, 'train', CLASSES)
    (voc / 'Annotations' / 'b.xml').unlink()
    with pytest.raises(FileNotFoundError, match=r'b\.xml'):
        VocDetection(voc, 'train', CLASSES)
    with pytest.raises(FileNotFoundError, match=r'there are x\.json'):
        CocoDetection(coco, 'y.json', 'images')
    (coco / 'x.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match='lacks annotations, categories'):
        CocoDetection(coco, 'x.json', 'images')
    (coco / 'x.json').write_text('{"images":')
    with pytest.raises(ValueError, match='no JSON'):
        CocoDetection(coco, 'x.json', 'images')


def test_annotations_that_fit_no_image(coco):
    change(coco, lambda facts: facts['annotations'][1].update(image_id=99))
    with pytest.warns(UserWarning, match='annotations of unknown images ignored: 1'):
        assert CocoDetection(coco, 'x.json', 'images').get_cat_ids(0) == [0]
    change(coco, lambda facts: facts['annotations'][1].update(bbox=[1, 2]))
    with pytest.raises(ValueError, match='Annotation 2 .*no bbox'):
        CocoDetection(coco, 'x.json', 'images')
    change(coco, lambda facts: facts['images'][0].update(width=61))
    with pytest.raises(ValueError, match=r'a\.png is 60x40, but .* says 61x40'):
        CocoDetection(coco, 'x.json', 'images').record(0)


def test_photographs_annotated_as_they_are_shown(voc):
    stored = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    tag = Image.Exif()
    tag[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(stored).save(voc / 'JPEGImages' / 'a.png', exif=tag)
    image = VocDetection(voc, 'train', CLASSES).record(0)['img'][:, :, ::-1]
    assert image.shape == (40, 60, 3) and np.array_equal(image, np.rot90(stored, -1))


def test_a_corrupt_image(voc):
    whole = (voc / 'JPEGImages' / 'b.png').read_bytes()
    (voc / 'JPEGImages' / 'b.png').write_bytes(whole[:200])
    with pytest.raises(CorruptImageError, match=r'b\.png'):
        VocDetection(voc, 'train', CLASSES)[1]
    dataset = VocDetection(voc, 'train', CLASSES, on_error='skip')
    with pytest.warns(UserWarning, match=r'Skipped: .*b\.png') as caught:
        assert [dataset[1]['sample_idx'] for _ in range(2)] == [2, 2]
    assert len(caught) == 1 and dataset.skipped == 1
    with pytest.raises(CorruptImageError):
        VocDetection(voc, 'train', CLASSES, on_error='skip', test_mode=True)[1]


def test_images_without_boxes_train(coco):
    """mmdet's loss is finite on a batch of nothing but background."""
    pytest.importorskip('mmdet')
    from zoo.models import build_network
    from zoo.registry import MODELS
    dataset = CocoDetection(coco, 'x.json', 'images', pipeline=[dict(type='LoadAnnotations'), dict(type='PackDetInputs')])
    preprocess = MODELS.build(dict(type='mmdet.DetDataPreprocessor', mean=(0,) * 3, std=(255,) * 3, pad_size_divisor=32))
    sample = dataset[1]
    data = preprocess(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), True)
    assert len(data['data_samples'][0].gt_instances) == 0
    model = dict(backbone=dict(base_channels=4), neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
                 bbox_head=dict(in_channels=8, feat_channels=8, stacked_convs=1))
    net = build_network(dict(type='MMDetModel', config='mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', num_classes=2,
                             model=model))
    losses = net.loss(data['inputs'], data['data_samples'])
    assert all(torch.isfinite(value).all() for values in losses.values() for value in values)
