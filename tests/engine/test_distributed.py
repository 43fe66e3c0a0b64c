"""Two processes compute what one process computes with the same global batch."""
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from zoo.engine import load_training_checkpoint

SCRIPT = '''
import json, sys
from mmengine.hooks import Hook
from tests.conftest import tiny_config
from zoo.engine import Runner

class Losses(Hook):
    priority = 'LOWEST'
    def __init__(self): self.losses = []
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

work_dir, launcher, kind = sys.argv[1:4]
cfg = tiny_config(work_dir, epochs=2, subset=64, batch_size=16 if launcher == 'none' else 8, launcher=launcher,
                  distillers=dict(kd=[dict(type='KD')], dhkd=[dict(type='DHKD', head='linear')])[kind])
net = dict(type='PythonFileModel', path=sys.argv[4], name='Net')
cfg.model.student, cfg.model.teacher = dict(net, width=6), dict(net, width=9, untrained=True)
cfg.model.data_preprocessor.augment = []
cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))
cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
runner = Runner.from_cfg(cfg)
watch = Losses()
runner.register_hook(watch)
runner.train()
json.dump(watch.losses, open(f'{work_dir}/losses_{runner.rank}.json', 'w'))
'''
NET = '''
from torch import nn

class Net(nn.Sequential):
    """Convolutions without BatchNorm."""
    def __init__(self, num_classes=10, width=6):
        super().__init__(nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
'''


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['kd', 'dhkd'])
def test_two_processes_equal_one(tmp_path, kind):
    """KD is one backward pass through the wrapper; DHKD differentiates twice and projects."""
    import json
    script, net = tmp_path / 'script.py', tmp_path / 'net.py'
    script.write_text(SCRIPT)
    net.write_text(NET)
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES='')
    one = [sys.executable, script, tmp_path / 'one', 'none', kind, net]
    two = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=0', '--standalone', script,
           tmp_path / 'two', 'pytorch', kind, net]
    for command in (one, two):
        done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    single = json.loads((tmp_path / 'one/losses_0.json').read_text())
    double = [json.loads((tmp_path / f'two/losses_{rank}.json').read_text()) for rank in range(2)]
    torch.testing.assert_close(torch.tensor(double).mean(0), torch.tensor(single), rtol=1e-4, atol=1e-5)
    a = load_training_checkpoint(tmp_path / 'one/epoch_2.pth')['state_dict']
    b = load_training_checkpoint(tmp_path / 'two/epoch_2.pth')['state_dict']
    for key in a:
        torch.testing.assert_close(b[key], a[key], rtol=1e-4, atol=1e-5, msg=key)
