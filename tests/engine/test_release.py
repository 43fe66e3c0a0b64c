"""What is optimised, saved, averaged and released is the student, and the teacher is run as promised."""
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from safetensors.torch import load_file

from zoo.engine import Runner, load_training_checkpoint
from zoo.engine import test as evaluate
from zoo.engine.launch import prepare_config, train
from zoo.models.released import load_released, read_metadata, save_released


class Spy(Hook):
    """Counts the teacher's passes in training, and looks at how they are made."""

    def __init__(self, model):
        self.calls = []
        model.teacher.register_forward_pre_hook(lambda m, args: self.calls.append(
            (m.training, torch.is_grad_enabled(), torch.is_autocast_enabled('cpu'))))
        # the zoo's networks are read by forward_taps, which a hook on the module does not see
        inner = model.teacher.forward_taps

        def forward_taps(images, names=None):
            self.calls.append((model.teacher.training, torch.is_grad_enabled(), torch.is_autocast_enabled('cpu')))
            return inner(images, names=names)
        model.teacher.forward_taps = forward_taps


def test_teacher_once_a_step_in_eval_mode_without_graph_under_autocast(tiny):
    cfg = tiny(epochs=1, distillers=[dict(type='KD'), dict(type='FitNets'), dict(type='SP')])
    cfg.optim_wrapper.amp = 'bf16'
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    spy = Spy(runner.bare_model)
    before = {k: v.clone() for k, v in runner.bare_model.teacher.state_dict().items()}
    runner.train()
    assert spy.calls == [(False, False, True)] * 4
    assert all(torch.equal(v, before[k]) for k, v in runner.bare_model.teacher.state_dict().items())


def test_teacher_is_in_no_optimiser_checkpoint_average_or_file(tiny):
    cfg = tiny(epochs=1, distillers=[dict(type='FitNets')], custom_hooks=[dict(type='EMAHook', decay=0.9)])
    runner = Runner.from_cfg(cfg)
    runner.train()
    model = runner.bare_model
    frozen = {id(p) for p in model.teacher.parameters()}
    optimised = {id(p) for g in runner.optim_wrapper.optimizer.param_groups for p in g['params']}
    wanted = {id(p) for p in (*model.student.parameters(), *model.distillers.parameters())}
    assert optimised == wanted and not optimised & frozen
    checkpoint = load_training_checkpoint(Path(cfg.work_dir) / 'epoch_1.pth')
    assert {k.split('.')[0] for k in checkpoint['state_dict']} == {'student', 'distillers'}
    released = load_file(Path(cfg.work_dir) / 'student.safetensors')
    assert set(released) == set(model.student.state_dict())
    average = checkpoint['ema']['state_dict']
    assert all(torch.equal(released[k], average[f'module.{k}']) for k in released)  # the average is what is released


def test_released_file_is_a_plain_network_with_its_facts(tiny):
    cfg = tiny(epochs=1, distillers=[dict(type='KD')])
    runner = Runner.from_cfg(cfg)
    runner.train()
    path = Path(cfg.work_dir) / 'student.safetensors'
    net = load_released(path)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(images), runner.bare_model.student.eval()(images))
    record = json.loads((Path(cfg.work_dir) / 'record.json').read_text())
    facts = read_metadata(path)
    assert net.preprocess['input_shape'] == [3, 8, 8] and net.preprocess['mean'] == pytest.approx([.3] * 3)
    assert facts['facts']['last'] == record['last'] and record['data'] == 'digits' and record['seed'] == 3
    assert record['train_images'] == 128 and record['epochs'] == 1 and len(record['scores']) == 1


def test_half_precision_file_loads_as_float(tmp_path):
    net = torch.nn.Linear(2, 3)
    net.build_config = None
    path = save_released(net, tmp_path / 'net.safetensors', half=True)
    assert load_file(path)['weight'].dtype == torch.float16
    with pytest.raises(ValueError, match='not how to build the network'):
        load_released(path)
    with pytest.raises(FileNotFoundError):
        load_released(tmp_path / 'none.safetensors')
    (tmp_path / 'bad.safetensors').write_bytes(b'{}')
    with pytest.raises(ValueError, match='not a safetensors file'):
        load_released(tmp_path / 'bad.safetensors')


def test_paramwise_options_and_the_distillers_own(tiny):
    """No weight decay on norms by the config, the distillers' groups as they ask."""
    cfg = tiny(distillers=[dict(type='FitNets')])
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.0)
    runner = Runner.from_cfg(cfg)
    runner.bare_model.distillers.fitnets.param_groups = lambda: [
        dict(params=list(runner.bare_model.distillers.parameters()), lr_mult=0.5, decay_mult=0.0)]
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    decay = {id(p): g['weight_decay'] for g in wrapper.optimizer.param_groups for p in g['params']}
    rate = {id(p): g['lr'] for g in wrapper.optimizer.param_groups for p in g['params']}
    model = runner.bare_model
    assert decay[id(model.student.bn1.weight)] == 0 and decay[id(model.student.conv1.weight)] == 5e-4
    for param in model.distillers.parameters():
        assert decay[id(param)] == 0 and rate[id(param)] == 0.025


def test_a_test_leaves_the_configuration_of_the_training(tiny, tmp_path):
    path = tmp_path / 'mine.py'
    tiny(epochs=1).dump(path)
    train(prepare_config(path, work_dir=str(tmp_path / 'run')))
    resolved = (tmp_path / 'run' / 'mine.py').read_text()
    options = {'test_dataloader': Config.fromfile(path).val_dataloader, 'test_cfg': dict(type='EvalLoop'),
               'test_evaluator': dict(type='ClassificationMetric')}
    student = str(tmp_path / 'run' / 'student.safetensors')
    evaluate(prepare_config(path, work_dir=str(tmp_path / 'run'), options=options), student)
    assert 'train_dataloader' in resolved and (tmp_path / 'run' / 'mine.py').read_text() == resolved
    evaluate(prepare_config(path, work_dir=str(tmp_path / 'other'), options=options), student)
    assert (tmp_path / 'other' / 'mine.py').is_file()
