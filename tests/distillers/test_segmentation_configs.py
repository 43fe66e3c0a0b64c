"""What holds for every distiller of segmentation, tried on each of its configs for the digit scenes with small images.

A new method is found by its config, ``configs/segmentation/<slug>/*digit*.py``.
"""
import copy
import io
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.conftest import ROOT
from zoo.distillers import METHODS, Progress
from zoo.engine import prepare_config
from zoo.registry import MODELS

CONFIGS = [path for path in sorted((ROOT / 'configs/segmentation').glob('*/*digit*.py')) if path.parent.name in METHODS]
SIDE = 32


@pytest.fixture(autouse=True)
def _mmseg():
    pytest.importorskip('mmseg')


def made(path: Path, work_dir: Path):
    """The config's model with a teacher that knows nothing, in training mode."""
    config = Config.fromfile(path)
    if config.model.get('teacher'):
        config.model.teacher.pop('checkpoint', None)
        config.model.teacher.untrained = True
    config.task.input_shape = (3, SIDE, SIDE)
    config = prepare_config(config, work_dir=str(work_dir))
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config.model.to_dict()))
    for distiller in model.distillers.values():
        if hasattr(distiller, 'normalize'):  # by statistics of the training set, which there is none of here
            distiller.normalize = False
        distiller.prepare(None)
    model.progress = Progress(epoch=1, epochs=4, iteration=2, iterations=20)
    return model.train()


def data(num_classes: int, ignored: bool = False) -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    generator, samples = torch.Generator().manual_seed(0), []
    for _ in range(2):
        label = torch.randint(num_classes, (1, 4, 4), generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
        label[:, :4] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE)))
        sample.gt_sem_seg = PixelData(data=torch.full_like(label, 255) if ignored else label)
        samples.append(sample)
    images = [torch.randint(256, (3, SIDE, SIDE), generator=generator).float() for _ in samples]
    return dict(inputs=images, data_samples=samples)


def terms_of(model, **options) -> dict[str, torch.Tensor]:
    """All terms on the same batch with the same draws."""
    torch.manual_seed(1)
    return model(model.data_preprocessor(data(model.task.num_classes, **options), training=True), mode='loss')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: f'{path.parent.name}{path.stem.partition("digit_")[2]}')
def test_every_config(path, tmp_path):
    model = made(path, tmp_path)
    slug = path.parent.name
    start = terms_of(model)
    own = [name for name in start if name == slug or name.startswith((f'{slug}.', f'{slug}_'))]
    assert own and all(start[name] != 0 for name in own), list(start)

    # the loss falls
    optimizer = torch.optim.Adam([*model.student.parameters(), *(p for _, g in model.param_groups() for p in g['params'])],
                                 lr=3e-3)
    losses = []
    for _ in range(8):
        loss = sum(terms_of(model).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and min(losses[-2:]) < losses[0], losses

    # what is saved and loaded into another model gives the same loss
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = made(path, tmp_path)
    if model.teacher is not None:  # it is in no checkpoint
        fresh.teacher.load_state_dict(model.teacher.state_dict())
    for value in fresh.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    expected, got = terms_of(model), terms_of(fresh)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5, msg=name)

    # nothing to learn from: finite, and so are the gradients
    optimizer.zero_grad()
    terms = terms_of(model, ignored=True)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values()), terms
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())

    # the student is mmseg's own network
    assert not any('distiller' in key or 'projector' in key for key in model.student.state_dict())
    if 'teacher' not in path.stem:
        assert type(model.student).__module__.startswith('mmseg.')


def test_there_are_configs():
    assert {'kd', 'dist', 'cwd', 'cirkd', 'lad', 'kdas', 'mgd', 'acam_kd', 'feature_regression'} <= {
        path.parent.name for path in CONFIGS}
