"""Every configs/_base_/datasets/*.py builds its loaders, on tiny stand-ins for the data."""
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from zoo.data import BatchPreprocessor
from zoo.registry import DATASETS

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
# those of detection and segmentation: test_dense_dataset_configs.py
NAMES = sorted(path.stem for path in FOLDER.glob('*.py')
               if Config.fromfile(path).get('task', {}).get('type') in ('Classification', 'MaskedImages'))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for name, shape, classes in (('cifar10_jpeg', (32, 32, 3), 10), ('cifar100_nl', (32, 32, 3), 100),
                                 ('mnist', (28, 28), 10)):
        parts = {f'x_{split}': rng.integers(0, 256, (6, *shape), dtype=np.uint8) for split in ('train', 'test')}
        np.savez(root / f'{name}.npz', y_train=np.arange(6), y_test=np.arange(6),
                 class_names=[str(k) for k in range(classes)], **parts)
    for base, splits, count, size, suffix in (('zip', ('train', 'test'), 10, 32, 'jpg'),
                                              ('imagenet', ('train', 'val'), 3, 260, 'JPEG')):
        for split in splits:
            for entry in range(count):
                folder = root / base / split / f'n{entry:04d}'
                folder.mkdir(parents=True)
                Image.fromarray(rng.integers(0, 256, (size, size + 8 * (base == 'imagenet'), 3), dtype=np.uint8)).save(
                    folder / f'0.{suffix}')
    with zipfile.ZipFile(root / 'cifar10_jpeg.zip', 'w') as archive:
        for file in sorted((root / 'zip').rglob('*.jpg')):
            archive.write(file, file.relative_to(root / 'zip'))
    return root


def test_there_are_configs():
    assert {'digits', 'cifar10', 'cifar100', 'cifar10_jpeg', 'cifar10_jpeg_zip', 'cifar100_nl', 'mnist',
            'imagenet'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_config_builds(name, data, monkeypatch):
    import torchvision

    class Source:
        def __init__(self, root, train, download):
            assert root == str(data) and not download
            count = 100 if name.startswith('cifar100') else 10
            self.data, self.targets = np.zeros((4, 32, 32, 3), np.uint8), [0, 1, 2, 3]
            self.classes = [str(k) for k in range(count)]

    monkeypatch.setenv('ZOO_DATA', str(data))
    for kind in ('CIFAR10', 'CIFAR100'):
        monkeypatch.setattr(torchvision.datasets, kind, Source)
    config = Config.fromfile(FOLDER / f'{name}.py')
    settings = {key: value for key, value in config.data_preprocessor.items() if key != 'type'}
    preprocessor = BatchPreprocessor(**settings)
    metric = 'ReconstructionMetric' if name.endswith('_masked') else 'ClassificationMetric'
    for split in ('train', 'val', 'test'):
        assert split == 'train' or config[f'{split}_evaluator'].type == metric
        loader = config[f'{split}_dataloader'].copy()
        # in this process: workers are tested elsewhere
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False, drop_last=False)
        loader.dataset = DATASETS.build(loader.dataset)
        loader = Runner.build_dataloader(loader, seed=0)
        batch = preprocessor(next(iter(loader)), training=split == 'train')
        assert tuple(batch['images'].shape[1:]) == tuple(config.task.input_shape)
        assert batch['images'].dtype == torch.float32
        assert batch['labels'].dtype == (torch.float32 if preprocessor.mixup and split == 'train' else torch.int64)
        assert loader.dataset.name == config.dataset_name
    # the stand-in has fewer folders than ImageNet
    if 'imagenet' not in name and 'num_classes' in config.task:
        assert loader.dataset.num_classes == config.task.num_classes == config.num_classes
