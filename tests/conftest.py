"""Small runs on the embedded digits."""
import copy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from mmengine.config import Config

# a busy machine is no failure, and the same examples run everywhere
settings.register_profile('zoo', deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('zoo')

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8))


@pytest.fixture(autouse=True)
def _one_thread(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv('ZOO_CACHE', str(tmp_path / 'cache'))


def tiny_config(work_dir, *, distillers=(), epochs=2, subset=128, batch_size=32, teacher='untrained', **options) -> Config:
    """A run of a tiny ResNet under a tiny (random) teacher on a part of the digits."""
    data = dict(type='Digits', size=8, subset=subset)
    loader = dict(dataset=dict(data, train=True), sampler=dict(type='DefaultSampler', shuffle=True), batch_size=batch_size,
                  collate_fn=dict(type='zoo.collate_batch'), num_workers=0)
    val = dict(loader, dataset=dict(type='Digits', size=8, train=False), sampler=dict(type='DefaultSampler', shuffle=False))
    cfg = Config(dict(
        default_scope='zoo', work_dir=str(work_dir), randomness=dict(seed=3),
        model=dict(type='Distillation', student=copy.deepcopy(TINY), distillers=list(distillers),
                   teacher=dict(TINY, widths=(6, 6, 8, 12), untrained=True) if teacher == 'untrained' else teacher,
                   task=dict(type='Classification', num_classes=10, input_shape=(3, 8, 8)),
                   data_preprocessor=dict(type='BatchPreprocessor', mean=(.3,) * 3, std=(.3,) * 3,
                                          augment=[dict(type='RandomCropFlip', padding=1, flip=False)])),
        train_dataloader=loader, val_dataloader=val, val_evaluator=dict(type='ClassificationMetric'),
        val_cfg=dict(type='EvalLoop'), train_cfg=dict(type='EpochLoop', max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', constructor='OptimWrapperConstructor',
                           optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1))))
    cfg.merge_from_dict(options)
    return cfg


@pytest.fixture
def tiny(tmp_path):
    """:func:`tiny_config` with a work directory of the test's own."""
    def make(name: str = 'run', **options) -> Config:
        return tiny_config(tmp_path / name, **options)
    return make
