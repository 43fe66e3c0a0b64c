"""The base configs of detection and segmentation data build their loaders, on tiny stand-ins for the data."""
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from zoo.registry import DATASETS, METRICS, MODELS

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
KINDS = {path.stem: Config.fromfile(path).get('task', {}).get('type') for path in sorted(FOLDER.glob('*.py'))}
DETECTION = [name for name, kind in KINDS.items() if kind == 'Detection']
SEGMENTATION = [name for name, kind in KINDS.items() if kind == 'Segmentation']

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


def image(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def labels(path, size, top):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.arange(size[0] * size[1]).reshape(size[::-1]) // 7 % top).astype(np.uint8)).save(path)


def voc(root, lists, category, size):
    for split, names in lists.items():
        for name in names:
            image(root / 'JPEGImages' / f'{name}.jpg', size)
            path = root / 'Annotations' / f'{name}.xml'
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size><object><name>{category}'
                            '</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>50</ymax></bndbox></object>'
                            '</annotation>')
        path = root / 'ImageSets' / 'Main' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(names))


def coco(root, folders, categories, annotations='annotations/instances_{}.json'):
    for split, folder in folders.items():
        facts = dict(images=[], annotations=[], categories=[dict(id=k + 1, name=name) for k, name in enumerate(categories)])
        for k in range(4):
            image(root / folder / f'{k}.jpg', (64, 48), k)
            facts['images'].append(dict(id=k, file_name=f'{k}.jpg', width=64, height=48))
            facts['annotations'].append(dict(id=k + 1, image_id=k, category_id=k + 1, bbox=[5, 5, 20, 30], area=600, iscrowd=0,
                                             segmentation=[[5, 5, 25, 5, 25, 35, 5, 35]]))
        path = root / annotations.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    names = [f'{k:03d}' for k in range(8)]
    voc(root / 'bccd' / 'BCCD', dict(train=names, val=names[:2], test=names[:2]), 'WBC', (64, 48))
    for year in ('VOC2007', 'VOC2012'):
        voc(root / 'VOCdevkit' / year, dict(trainval=names[:2], test=names[:2]), 'cat', (64, 48))
    classes = [f'thing {k}' for k in range(80)]
    coco(root / 'coco32', dict(train2017='images/train2017', val2017='images/val2017'), classes)
    coco(root / 'coco', dict(train2017='train2017', val2017='val2017'), classes)
    coco(root / 'doclaynet', dict(train='PNG', val='PNG', test='PNG'), classes[:11], 'COCO/{}.json')
    for split in ('train', 'val', 'test'):
        lines = []
        for name in names:
            image(root / 'camvid' / 'camvid' / split / f'{name}.jpg', (480, 360))
            labels(root / 'camvid' / 'camvid' / f'{split}annot' / f'{name}.png', (480, 360), 12)
            lines.append(f'{split}/{name}.jpg {split}annot/{name}.png')
        (root / 'camvid' / 'camvid' / f'{split}.txt').write_text('\n'.join(lines))
        for name in names[:4]:
            image(root / 'cityscapes' / 'leftImg8bit' / split / 'x' / f'{name}_leftImg8bit.png', (128, 64))
            labels(root / 'cityscapes' / 'gtFine' / split / 'x' / f'{name}_gtFine_labelTrainIds.png', (128, 64), 19)
    for split in ('training', 'validation'):
        for name in names[:4]:
            image(root / 'ade' / 'ADEChallengeData2016' / 'images' / split / f'{name}.jpg', (80, 60))
            labels(root / 'ade' / 'ADEChallengeData2016' / 'annotations' / split / f'{name}.png', (80, 60), 151)
    base = root / 'VOCdevkit' / 'VOC2012'
    (base / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    for split in ('trainaug', 'val'):
        (base / 'ImageSets' / 'Segmentation' / f'{split}.txt').write_text('\n'.join(names[:4]))
    for name in names[:4]:
        image(base / 'JPEGImages' / f'{name}.jpg', (64, 48))
        for folder in ('SegmentationClass', 'SegmentationClassAug'):
            labels(base / folder / f'{name}.png', (64, 48), 21)
    return root


def loader_of(config, split):
    loader = config[f'{split}_dataloader'].copy()
    loader.update(num_workers=0, persistent_workers=False)  # in this process: workers are tested elsewhere
    if 'scenes' in loader.dataset:
        loader.dataset.scenes = 16
    loader.dataset = DATASETS.build(loader.dataset)
    return Runner.build_dataloader(loader, seed=0)


@pytest.mark.parametrize('name', [*DETECTION, *SEGMENTATION])
def test_config_builds(name, data, monkeypatch):
    monkeypatch.setenv('ZOO_DATA', str(data))
    config = Config.fromfile(FOLDER / f'{name}.py')
    preprocess = MODELS.build(config.data_preprocessor)
    height, width = config.task.input_shape[1:]
    for split in ('train', 'val', 'test'):
        with warnings.catch_warnings():
            warnings.simplefilter('error', UserWarning)
            warnings.filterwarnings('ignore', message='.*torchvision.*|.*__array__.*|.*deprecated.*')
            loader = loader_of(config, split)
        dataset = loader.dataset
        assert dataset.name == config.dataset_name and dataset.num_classes == config.num_classes == config.task.num_classes
        assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == config.num_classes
        if name in ('coco', 'cityscapes', 'ade20k', 'voc_seg', 'voc_det') and split == 'train':
            index = 0  # one is enough of the large ones
            sample = dataset[index]
            batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        else:
            batch = next(iter(loader))
        batch = preprocess(batch, split == 'train')
        sample = batch['data_samples'][0]
        assert isinstance(sample.metainfo['sample_idx'], int)
        images = batch['inputs']
        assert images.dtype == torch.float32 and images.abs().max() < 5
        if name in DETECTION:
            assert images.shape[2] % 32 == images.shape[3] % 32 == 0
            if split == 'train':
                assert len(sample.gt_instances)
            else:
                assert sample.metainfo['instances']
        else:
            if split == 'train':
                assert tuple(images.shape[2:]) == (height, width) == tuple(sample.gt_sem_seg.data.shape[1:])
            values = set(sample.gt_sem_seg.data.unique().tolist())
            assert values <= {*range(config.num_classes), 255} and len(values) > 1


@pytest.mark.parametrize('name', [*DETECTION, *SEGMENTATION])
def test_evaluators_take_the_ground_truth_for_perfect(name, data, monkeypatch):
    monkeypatch.setenv('ZOO_DATA', str(data))
    config = Config.fromfile(FOLDER / f'{name}.py')
    dataset = loader_of(config, 'val').dataset
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    count = min(len(dataset), 4)
    if name in DETECTION:
        from mmengine.structures import InstanceData
        for k in range(count):
            sample = dataset[k]['data_samples']
            truth = sample.gt_instances
            sample.pred_instances = InstanceData(bboxes=truth.bboxes.tensor, scores=torch.ones(len(truth)), labels=truth.labels)
            metric.process({}, [sample.to_dict()])
        assert metric.evaluate(count)['coco/bbox_mAP'] == 1
    else:
        for k in range(count):
            sample = dataset[k]['data_samples']
            sample.pred_sem_seg = sample.gt_sem_seg.clone()
            metric.process({}, [sample.to_dict()])
        assert metric.evaluate(count)['mIoU'] == 100


def test_there_are_configs():
    assert {'bccd', 'coco', 'coco32', 'digit_scenes_det', 'voc_det'} <= set(DETECTION)
    assert {'ade20k', 'camvid', 'cityscapes', 'digit_scenes_seg', 'voc_seg'} <= set(SEGMENTATION)
