"""Runs of detection and segmentation on small digit scenes: what is written, tested and resumed."""
import json

import pytest
import torch

from tests.conftest import ROOT
from tests.engine.test_resume import run
from zoo.engine import prepare_config, train
from zoo.engine import test as evaluate
from zoo.engine.runner import Runner
from zoo.engine.speed import measure_config
from zoo.models.released import load_released, read_metadata

CONFIGS = dict(
    detection=('mmdet', 'detection/feature_regression/gfl_r18_r18half_digit_scenes.py', 'coco/bbox_mAP'),
    segmentation=('mmseg', 'segmentation/feature_regression/deeplabv3plus_r18_r18half_digit_scenes.py', 'mIoU'))
SMALL = {'train_dataloader.dataset.scenes': 6, 'val_dataloader.dataset.scenes': 4, 'test_dataloader.dataset.scenes': 4,
         'train_dataloader.dataset.size': 64, 'val_dataloader.dataset.size': 64, 'test_dataloader.dataset.size': 64,
         'train_dataloader.batch_size': 2, 'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 1, 'param_scheduler': None,
         'task.input_shape': (3, 64, 64), 'model.teacher.checkpoint': None, 'model.teacher.untrained': True}


def config(kind: str, work_dir, **options):
    package, path, _ = CONFIGS[kind]
    pytest.importorskip(package)
    return prepare_config(ROOT / 'configs' / path, work_dir=str(work_dir), options={**SMALL, **options})


@pytest.mark.parametrize('kind', CONFIGS)
def test_run_record_release_and_test(kind, tmp_path, capsys):
    monitor = CONFIGS[kind][2]
    options = {'val_evaluator.classwise': True} if kind == 'detection' else {}
    record = train(config(kind, tmp_path / 'run', **options))
    assert record['monitor'] == monitor and record['iterations'] == 6 and record['data'] == 'DigitScenes'
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'scores.jsonl').read_text().splitlines()]
    assert [line['epoch'] for line in lines] == [1, 2] and all(monitor in line for line in lines)
    printed = capsys.readouterr().out
    assert 'Average Precision' not in printed  # pycocotools' own lines are in the log file
    if kind == 'segmentation':
        assert set(lines[-1]['per_class']) == {'background', *map(str, range(10))} and 'IoU' in printed
    released = tmp_path / 'run' / 'student.safetensors'
    metadata = read_metadata(released)
    assert metadata['class_names'][-1] == '9' and metadata['preprocess']['mean'] == [0.485, 0.456, 0.406]
    assert 'teacher' not in metadata['build'] and metadata['build']['type'] in ('MMDetModel', 'MMSegModel')
    net = load_released(released)
    # plain, and with its own preprocessing: predicts from what a loader gives
    assert type(net).__module__.startswith(CONFIGS[kind][0]) and not any('distill' in k for k in net.state_dict())
    assert net.data_preprocessor.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    # neither the teacher's weights nor the teacher are needed for that
    metrics = evaluate(config(kind, tmp_path / 'test', **{'model.teacher.checkpoint': 'nowhere.pth'}), str(released))
    assert metrics[monitor] == pytest.approx(lines[-1][monitor])


@pytest.mark.parametrize('kind', CONFIGS)
def test_resume_is_exact_in_mid_epoch(kind, tmp_path):
    """3 batches an epoch, with random augmentation; written after iterations 2, 4; the run breaks after iteration 5."""
    hook = {'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2)}
    losses, weights = run(config(kind, tmp_path / 'whole', **hook))
    first, _ = run(config(kind, tmp_path / 'broken', **hook), stop_after=5)
    assert first == losses[:5] and len(set(losses)) == 6
    again = config(kind, tmp_path / 'broken', **hook)
    again.resume = True
    rest, resumed = run(again)
    assert rest == losses[4:]
    assert weights.keys() == resumed.keys() and all(torch.equal(weights[k], resumed[k]) for k in weights)


def test_passes_over_the_training_set(tmp_path):
    """Without augmentation: with the evaluation's pipeline, in the set's order."""
    runner = Runner.from_cfg(config('segmentation', tmp_path))
    training_set = runner.training_set()
    passes = [[(taps['logits'], batch) for taps, batch in training_set.teacher_outputs(('logits',))] for _ in range(2)]
    assert [len(batch) for _, batch in passes[0]] == [2, 2, 2] and passes[0][0][1].labels.shape == (2, 64, 64)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(*passes))
    assert training_set.fingerprint() == training_set.fingerprint()


def test_cost_is_measured(tmp_path, capsys):
    cost = measure_config(config('detection', tmp_path), block=1, rounds=2)
    assert len(cost.zoo) == len(cost.bare) == len(cost.maths) == 2 and min(*cost.zoo, *cost.bare, *cost.maths) > 0
    assert cost.ratios[0] == (cost.zoo[0] - cost.maths[0]) / cost.bare[0]
    with pytest.raises(ValueError, match='no teacher or no distillers'):
        measure_config(config('detection', tmp_path, **{'model.distillers': []}))


def test_average_of_a_detector(tmp_path):
    """An exponential moving average of the student is evaluated and released."""
    average = dict(type='EMAHook', decay=0.5)
    record = train(config('detection', tmp_path, custom_hooks=[average], **{'train_cfg.max_epochs': 1}))
    assert record['iterations'] == 3 and load_released(tmp_path / 'student.safetensors')
