"""A resumed run is the uninterrupted run."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.hooks import Hook

from tests.conftest import ROOT
from zoo.engine import Runner, load_training_checkpoint


class Watch(Hook):
    """Notes every loss, and can end the run like a crash would."""
    priority = 'LOWEST'

    def __init__(self, stop_after=None):
        self.losses, self.stop_after = [], stop_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        if self.stop_after is not None and runner.iter + 1 == self.stop_after:
            raise KeyboardInterrupt


def run(cfg, stop_after=None):
    watch = Watch(stop_after)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    if stop_after is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return watch.losses, runner.bare_model.state_dict()


CASES = {
    'plain': {},
    'epoch end': dict(checkpoint=dict(type='CheckpointHook', interval=1), stop_after=6),
    'accumulation': {'optim_wrapper.accumulative_counts': 2, 'optim_wrapper.clip_grad': dict(max_norm=1.0)},
    'bf16': {'optim_wrapper.amp': 'bf16'},
    'ema': {'custom_hooks': [dict(type='EMAHook', decay=0.9)]},
    'bank': dict(distillers=[dict(type='CRD', num_negatives=16, embedding_dim=8, weight=0.1)]),
    'two backward passes': {'distillers': [dict(type='DHKD')], 'optim_wrapper.accumulative_counts': 2},
    'scalar state': dict(distillers=[dict(type='TAID')]),
}


@pytest.mark.parametrize('case', CASES)
def test_resume_is_exact_in_mid_epoch(tiny, case):
    """4 batches an epoch; the checkpoint is written after iteration 3, 6, ...; the run breaks after iteration 7."""
    options = dict(CASES[case])
    stop_after = options.pop('stop_after', 7)
    hook = options.pop('checkpoint', dict(type='CheckpointHook', by_epoch=False, interval=3))
    options['default_hooks'] = dict(checkpoint=hook)
    whole, end = run(tiny('whole', epochs=3, **options))
    first, _ = run(tiny('broken', epochs=3, **options), stop_after=stop_after)
    assert first == whole[:stop_after]
    again = tiny('broken', epochs=3, resume=True, **options)
    rest, resumed_end = run(again)
    assert 0 < len(rest) < len(whole)
    assert rest == whole[-len(rest):]
    for key, value in end.items():
        assert torch.equal(value, resumed_end[key]), key


def test_checkpoints_load_safely(tiny):
    run(tiny(epochs=1, distillers=[dict(type='KD')]))
    path = tiny().work_dir + '/epoch_1.pth'
    checkpoint = torch.load(path, weights_only=True)
    assert not any(key.startswith('teacher') for key in checkpoint['state_dict'])
    assert checkpoint['meta']['iter'] == 4


def test_broken_checkpoint_says_so(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='cannot be read as a checkpoint'):
        load_training_checkpoint(path)
    with pytest.raises(FileNotFoundError, match='epoch_1.pth'):
        load_training_checkpoint(tmp_path / 'epoch_2.pth')


def test_resume_with_other_batches_is_refused(tiny):
    run(tiny(epochs=1))
    with pytest.raises(ValueError, match='same data, batch_size'):
        Runner.from_cfg(tiny(epochs=2, resume=True, batch_size=16)).train()


@pytest.mark.slow
def test_kill_and_resume_by_the_command_line(tmp_path):
    """A killed process, continued by --resume, ends with the scores of the uninterrupted one."""
    config = ROOT / 'configs/classification/vanilla/resnet8half_digits.py'

    def command(name, *more):
        return [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(tmp_path / name), *more,
                '--cfg-options', 'train_cfg.max_epochs=3', 'param_scheduler.1.end=3', 'param_scheduler.1.T_max=2']

    env = dict(os.environ, OMP_NUM_THREADS='1')
    subprocess.run(command('whole'), check=True, capture_output=True, env=env)
    process = subprocess.Popen(command('killed'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    deadline = time.time() + 120
    while not (tmp_path / 'killed/epoch_1.pth').exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command('killed', '--resume'), check=True, capture_output=True, env=env)
    scores = [[json.loads(line)['nll'] for line in (tmp_path / name / 'scores.jsonl').read_text().splitlines()]
              for name in ('whole', 'killed')]
    assert scores[0][-1] == scores[1][-1]
    assert (tmp_path / 'killed/student.safetensors').read_bytes()[-1000:] == \
        (tmp_path / 'whole/student.safetensors').read_bytes()[-1000:]
